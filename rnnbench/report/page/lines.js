'use strict';

/* Plots of time against one size. Each line ends with its name, so no reader needs the colours. */

const LINE_COLOURS = 8;

/* `growth` is one of a record's: { call, axis, fixed, lines }. `numbers` maps a label to the number of its colour. */
function drawGrowth({ call, axis, fixed, lines }, numbers) {
    const width = 520, height = 280, left = 58, right = width - 190, top = 26, bottom = height - 40;
    const xs = unique(lines.flatMap(({ points }) => points.map(([x]) => x))).sort((a, b) => a - b);
    const ys = lines.flatMap(({ points }) => points.map(([, y]) => y));
    const low = Math.min(...ys) / 1.15, high = Math.max(...ys) * 1.15;
    const widest = Math.log(xs[xs.length - 1] / xs[0]);
    const x = (size) => left + 10 + ((right - left - 20) * Math.log(size / xs[0])) / widest;
    const y = (seconds) => bottom - ((bottom - top) * Math.log(seconds / low)) / Math.log(high / low);
    const title = `${CALL_TITLES[call]}, time against ${axis}`;
    const description = lines.map(({ label, slope, points }) => {
        const times = points.map(([size, seconds]) => `${milliseconds(seconds)} at ${size}`);
        return `${label} ${times.join(', ')}, exponent ${slope}`;
    });

    const drawing = svg('svg', {
        viewBox: `0 0 ${width} ${height}`, class: 'chart', role: 'img',
        'aria-label': `${title} at ${fixed}: ${description.join('; ')}`
    });
    for (const tick of ticksBetween(low, high)) {
        drawing.append(svg('line', { class: 'grid', x1: left, x2: right, y1: y(tick), y2: y(tick) }),
            svg('text', { class: 'tick at-end', x: left - 6, y: y(tick) + 4 }, milliseconds(tick)));
    }
    for (const size of xs) {
        drawing.append(svg('line', { class: 'grid', x1: x(size), x2: x(size), y1: top, y2: bottom }),
            svg('text', { class: 'tick', x: x(size), y: bottom + 16 }, size));
    }
    drawing.append(svg('text', { class: 'axis', x: left, y: 14 }, 'time of a call on a whole batch'),
        svg('text', { class: 'axis', x: left, y: height - 6 }, axis));

    const ends = lines.map(({ points }) => y(points[points.length - 1][1]));
    const names = spreadOut(ends, 14, top, height - 6);
    lines.forEach(function ({ label, slope, points }, place) {
        const corners = points.map(([size, seconds]) => [x(size), y(seconds)]);
        const [endX, endY] = corners[corners.length - 1];
        const leader = [[endX + 5, endY], [right + 8, names[place]], [right + 14, names[place]]];
        drawing.append(svg('g', { class: `line line-${numbers.get(label) % LINE_COLOURS}` },
            svg('polyline', { points: corners.join(' ') }),
            ...corners.map(([cx, cy]) => svg('circle', { cx, cy, r: 3.5 })),
            svg('polyline', { class: 'leader', points: leader.join(' ') }),
            svg('text', { class: 'line-name', x: right + 18, y: names[place] + 4 }, `${label}  ${slope}`)));
    });
    return make('figure', { class: 'growth' }, make('figcaption', {}, make('b', {}, title), ` at ${fixed}`), drawing);
}

/* Places near the wanted ones that keep a distance from each other. */
function spreadOut(wanted, distance, top, bottom) {
    const order = wanted.map((_, place) => place).sort((a, b) => wanted[a] - wanted[b]);
    const places = wanted.slice();
    order.forEach(function (place, number) {
        const before = number ? places[order[number - 1]] + distance : top;
        places[place] = Math.max(wanted[place], before);
    });
    let limit = bottom;
    for (const place of order.reverse()) {
        places[place] = Math.min(places[place], limit);
        limit = places[place] - distance;
    }
    return places;
}

function milliseconds(seconds) {
    return `${Number((seconds * 1e3).toPrecision(3))} ms`;
}
