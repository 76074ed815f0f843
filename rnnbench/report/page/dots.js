'use strict';

/* The chart: a row for each implementation, a dot for each shape, a bar at the geometric mean, on a log axis. */

const DOT_RADIUS = 4.5;

/* Draw a panel for each call. `rows` are implementations, and `dotsOf` returns the dots of a call and an implementation.
   A dot is { x, open, lines }: its place on the axis, whether it is drawn open, and its note. The place 1 has a line,
   named `reference`. `text` writes a place on the axis, `tickText` a round one. */
function drawDots(container, { rows, axis, dotsOf, text, tickText, reference, name }) {
    const width = Math.max(300, container.clientWidth);
    const isWide = width >= 760;
    // Many rows are lower, so that all of them stand on the first screen.
    const size = isWide ?
        { isWide, row: rows.length > 9 ? 30 : 36, left: 176, top: 30, bottom: 24, radius: DOT_RADIUS, lane: 6 } :
        { isWide, row: rows.length > 8 ? 18 : 21, left: 118, top: 24, bottom: 20, radius: 4, lane: 4 };
    const dots = CALLS.map((quantity) => rows.map((row) => dotsOf(quantity, row)));
    const places = dots.flat(2).map(({ x }) => x);
    const low = Math.min(...places, 1);
    const high = Math.max(...places, 1, low * 1.5);
    const gap = 26, axisHeight = 18;
    const panelWidth = isWide ? (width - size.left - gap) / 2 : width - size.left;
    const panelHeight = size.top + rows.length * size.row + size.bottom;
    const height = (isWide ? panelHeight : 2 * panelHeight) + axisHeight;
    const scale = (x) => 14 + ((panelWidth - 44) * Math.log(x / low)) / Math.log(high / low);

    const items = [];
    const drawing = svg('svg', {
        viewBox: `0 0 ${width} ${height}`, width, height, class: 'chart', role: 'group', 'aria-label': name
    });
    CALLS.forEach(function (quantity, number) {
        const origin = isWide ? [size.left + number * (panelWidth + gap), 0] : [size.left, number * panelHeight];
        const base = panelHeight - size.bottom;
        const panel = svg('g', { transform: `translate(${origin})` },
            svg('text', { class: 'panel-title', x: 0, y: 16 }, CALL_TITLES[quantity]));
        drawTick(panel, scale(1), size.top, base, reference, 'reference');
        for (const tick of ticksBetween(low, high).filter((tick) => tick !== 1)) {
            // The name of the reference needs more room than a number.
            const isCrowded = Math.abs(scale(tick) - scale(1)) < 18 + 3.2 * reference.length;
            drawTick(panel, scale(tick), size.top, base, isCrowded ? '' : tickText(tick), 'grid');
        }
        if (isWide || number) {
            panel.append(svg('text', { class: 'axis', x: isWide ? 0 : 4 - size.left, y: base + 33 }, axis));
        }
        rows.forEach(function (row, place) {
            const y = size.top + (place + 0.5) * size.row;
            panel.append(svg('line', { class: 'row', x1: 0, x2: panelWidth, y1: y, y2: y }));
            if (!isWide || !number) {
                panel.append(rowLabel(row, y, isWide));
            }
            if (dots[number][place].length) {
                items.push(drawRow(panel, dots[number][place], y, scale, text, panelWidth, size));
            } else {
                panel.append(svg('text', { class: 'axis', x: scale(1) + 8, y: y + 4 }, 'n/a'));
            }
        });
        drawing.append(panel);
    });
    container.replaceChildren(drawing);
    showTips(() => items);
    // A finger is wider than a dot: a tap takes the nearest one.
    drawing.addEventListener('click', function (event) {
        const found = closestItem(items.flat(), event);
        if (found) {
            found[0].focus({ preventScroll: true });
        }
    });
    return drawing;
}

function rowLabel({ label, title }, y, isWide) {
    const shortest = (words, length) => (words.length > length ? `${words.slice(0, length - 1)}…` : words);
    return svg('g', {},
        svg('title', {}, `${label}: ${title}`),
        svg('text', { class: 'label', x: -12, y: isWide ? y - 1 : y + 4 }, shortest(label, isWide ? 25 : 15)),
        isWide && svg('text', { class: 'title', x: -12, y: y + 13 }, shortest(title, 28)));
}

function drawTick(group, x, top, base, text, className) {
    group.append(
        svg('line', { class: className, x1: x, x2: x, y1: top, y2: base }),
        svg('text', { class: 'tick', x, y: base + 16 }, text)
    );
}

function drawRow(panel, dots, y, scale, text, width, { isWide, radius, lane }) {
    const taken = [];
    const items = dots.slice().sort((a, b) => a.x - b.x).map(function (dot) {
        const x = scale(dot.x);
        // A dot that would cover an earlier one moves up or down.
        const isFree = (offset) => !taken.some(([other, where]) => where === offset && x - other < 6);
        const offset = [0, lane, -lane].find(isFree) || 0;
        taken.push([x, offset]);
        const node = svg('circle', {
            class: dot.open ? 'dot open' : 'dot', cx: x, cy: y + offset, r: radius,
            role: 'img', 'aria-label': dot.lines.join('. ')
        });
        return [node, dot.lines];
    });
    const mean = geometricMean(dots.map(({ x }) => x));
    const x = scale(mean), half = isWide ? 13 : 9, isAtEnd = x > width - 60;
    panel.append(
        ...items.map(([node]) => node),
        svg('line', { class: 'mean', x1: x, x2: x, y1: y - half, y2: y + half }),
        svg('text', {
            class: isAtEnd ? 'mean-text at-end' : 'mean-text', x: x + (isAtEnd ? -5 : 5), y: y - (isWide ? 8 : 4)
        }, text(mean)));
    return items;
}

function closestItem(items, { clientX, clientY }) {
    const distance = function ([node]) {
        const { left, right, top, bottom } = node.getBoundingClientRect();
        return Math.hypot((left + right) / 2 - clientX, (top + bottom) / 2 - clientY);
    };
    const found = items.reduce((best, item) => (!best || distance(item) < distance(best) ? item : best), null);
    return found && distance(found) < 28 ? found : null;
}
