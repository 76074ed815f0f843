'use strict';

/* The ranking: the ratios, the chart's rows, and the tables below the chart. */

function shownImplementations(record, choice) {
    return timedIn(record, choice.precision).filter(({ label }) => !choice.only || choice.only.includes(label));
}

/* Each shown implementation's times as multiples of the baseline's, or of the fastest one's at the same shape:
   a list of { implementation, ratios }, in which a ratio is { position, ratio, figure, than, wins, ties }. An
   implementation that misses the accuracy limit at a shape doesn't compete there. Those whose times the machine can't
   tell from the fastest one's share the lead. */
function ratiosOf(record, choice, quantity, positions) {
    const shown = shownImplementations(record, choice);
    const lines = shown.map((implementation) => ({ implementation, ratios: [] }));
    for (const position of positions) {
        const timed = lines
            .map((line) => [line, measured(line.implementation, quantity, position)])
            .filter(([{ implementation }, figure]) => figure && !implementation.wrong.includes(position));
        const fastest = timed.reduce((best, item) => (!best || item[1].value < best[1].value ? item : best), null);
        const baseline =
            choice.baseline === FASTEST
                ? timed.length > 1 && fastest
                : timed.find(([{ implementation }]) => implementation.label === choice.baseline);
        if (!baseline) {
            continue;
        }
        const leaders = timed.filter(
            (item) =>
                item === fastest || !compareFigures(fastest[1], item[1], record.covers, record.machine.detectable).told
        );
        timed.forEach((item) =>
            item[0].ratios.push({
                position,
                figure: item[1],
                ratio: item[1].value / baseline[1].value,
                than: baseline[0].implementation.label,
                wins: leaders.length === 1 && item === fastest,
                ties: leaders.length > 1 && leaders.includes(item)
            })
        );
    }
    return lines;
}

function meanOf({ ratios }) {
    return ratios.length ? geometricMean(ratios.map(({ ratio }) => ratio)) : null;
}

/* The ratios of both calls, the implementations in the order of the train step's means. */
function standingsOf(record, choice, positions) {
    const [train, forward] = CALLS.map((quantity) => ratiosOf(record, choice, quantity, positions));
    const order = train
        .map((line, place) => ({ implementation: line.implementation, train: line, forward: forward[place] }))
        .filter((standing) => CALLS.some((quantity) => standing[quantity].ratios.length));
    return order.sort(
        (a, b) => (meanOf(a.train) || Infinity) - (meanOf(b.train) || Infinity) || meanOf(a.forward) - meanOf(b.forward)
    );
}

/* What the chart draws; see dots.js. */
function rankingChart(record, choice, standings) {
    const isFastest = choice.baseline === FASTEST;
    const means = ({ implementation, ...lines }) =>
        CALLS.filter((quantity) => meanOf(lines[quantity])).map(
            (quantity) => `${implementation.label} ${quantity} ${multiple(meanOf(lines[quantity]))}`
        );
    return {
        rows: standings.map(({ implementation }) => implementation),
        axis: `time as a multiple of ${isFastest ? 'the fastest' : `${choice.baseline}’s`} at the same ${index.noun}`,
        dotsOf: (quantity, implementation) =>
            standings
                .find((standing) => standing.implementation === implementation)
                [quantity].ratios.map(({ position, figure, ratio, than }) => ({
                    x: ratio,
                    open: figure.marks.length > 0,
                    lines: [
                        ...figureLines(record, implementation, quantity, position, figure),
                        `${multiple(ratio)} of ${than}’s time`
                    ]
                })),
        text: multiple,
        tickText: (tick) => `${tick}×`,
        reference: `1× (${choice.baseline})`,
        name: `Time of each implementation as a multiple of the baseline: ${standings.flatMap(means).join(', ')}`
    };
}

/* The chart as a table, with a line about each implementation. */
function drawSummary(record, choice, standings) {
    const isFastest = choice.baseline === FASTEST;
    const rows = standings.map((standing) => [
        { text: standing.implementation.label, head: true },
        ...CALLS.flatMap((quantity) => {
            const { ratios } = standing[quantity];
            return isFastest ? [meanCell(ratios), winsCell(ratios)] : [meanCell(ratios)];
        }),
        standing.implementation.description
    ]);
    const columns = CALLS.flatMap((quantity) => {
        const heading = `${capitalized(quantity)}, × ${isFastest ? 'the fastest' : choice.baseline}`;
        return isFastest ? [heading, 'Fastest in'] : [heading];
    });
    const caption = `The geometric mean over the ${index.noun}s, and in brackets the smallest and the largest multiple`;
    const headings = [['Implementation', 'text'], ...columns, ['What it is', 'text long']];
    fill('summary-table', rows.length > 0 && drawTable('summary', caption, headings, rows, choice.sort));
}

function meanCell(ratios) {
    if (!ratios.length) {
        return absent();
    }
    const values = ratios.map(({ ratio }) => ratio);
    const spread = ` ${inBrackets(Math.min(...values), Math.max(...values))}`;
    const mean = geometricMean(values);
    return { nodes: [multiple(mean), make('span', { class: 'spread' }, spread)], value: mean };
}

function winsCell(ratios) {
    const [wins, ties] = ['wins', 'ties'].map((name) => ratios.filter((ratio) => ratio[name]).length);
    const text = `${wins} of ${ratios.length}${ties ? `, ${counted(ties, 'tie')}` : ''}`;
    return ratios.length ? { text, value: wins + ties / 1000 } : absent();
}

/* The texts come from Python, the same as in rnnbench report. A shape with one implementation has no row. */
function drawRanking(record, choice, positions) {
    const sizes = positions.map((position) => String(sizeTexts(position)));
    const width = sizeTexts(positions[0]).length;
    // A call in another precision than strict float32 names it: "train, TF32".
    const precisionOf = (call) => call.split(', ')[1] || index.precisions.strict;
    const isShown = (line) =>
        sizes.includes(String(line.slice(0, width))) && precisionOf(line[width]) === index.precisions[choice.precision];
    element('at-each').textContent = `At each ${index.noun}`;
    const table = drawTexts('ranking-rows', record.ranking, choice.sort, isShown);
    const star = '*: a figure in doubt; the reasons stand below the chart.';
    const notes = table && [...record.notes, ...(table.textContent.includes('*') ? [star] : [])];
    fill('ranking-table', table, ...(notes || []).map((note) => make('p', { class: 'note' }, note)));
    const unknown = 'How small a change this machine can detect wasn’t measured: rnnbench selftest does it.';
    fill('selftest', record.machine.selftest || unknown);
    element('ranking').hidden = !table && !standingsShown();
}

function standingsShown() {
    return element('summary-table').childElementCount > 0;
}

/* The cells with which a row of the ranking begins. */
function sizeTexts(position) {
    if (index.names) {
        return [index.names[position]];
    }
    const [batch, seq, hidden, depth] = index.shapes[position];
    return [depth, `${batch} × ${seq}`, hidden];
}
