'use strict';

/* The folded sections: the floor, growth, costs, the machine and its software. */

/* The share of the floor, drawn like the ranking. */
function drawFloor(record, choice, positions) {
    const shares = (quantity, implementation) =>
        positions.flatMap(function (position) {
            const figure = measured(implementation, quantity, position);
            const [seconds, bound] = record.floors[implementation.precision][quantity][position] || [];
            if (!figure || !seconds) {
                return [];
            }
            const lines = figureLines(record, implementation, quantity, position, figure);
            return [{ x: seconds / figure.value, bound, open: figure.marks.length > 0, lines }];
        });
    const train = (implementation) => geometricMean(shares('train', implementation).map(({ x }) => x)) || 0;
    const rows = shownImplementations(record, choice)
        .filter((implementation) => CALLS.some((quantity) => shares(quantity, implementation).length))
        .sort((a, b) => train(b) - train(a));
    if (!rows.length) {
        element('floor-dots').replaceChildren();
        fill('floor-note', 'There is no floor, because this machine’s description doesn’t give its peak rates. Add ' +
            'float32_flops (and tf32_flops or float16_flops), in operations per second, and memory_bandwidth, in bytes per second, ' +
            `to results/${record.machine.name}/machine.json.`);
        return;
    }
    drawDots(element('floor-dots'), {
        rows,
        axis: 'share of the floor',
        dotsOf: shares,
        text: percent,
        tickText: (tick) => `${Number((100 * tick).toPrecision(2))}%`,
        reference: '100%',
        name: 'Share of the floor that each implementation reaches'
    });
    const all = rows.flatMap((row) => CALLS.flatMap((quantity) => shares(quantity, row)));
    fill('floor-note', all.some(({ bound }) => bound === 'memory') ?
        'Memory bandwidth sets the floor at some of these figures: a dot’s note says at which. ' :
        'Arithmetic sets the floor at each of these figures. ', record.machine.peaks);
}

function drawGrowthSection(record, choice) {
    const labels = shownImplementations(record, choice).map(({ label }) => label);
    const numbers = new Map(record.implementations.map(({ label }, place) => [label, place]));
    const plots = record.growth
        .map((growth) => ({ ...growth, lines: growth.lines.filter(({ label }) => labels.includes(label)) }))
        .filter(({ lines }) => lines.length);
    const none = make('p', {}, 'Too few shapes were timed. A plot needs two shapes that differ in one size only.');
    fill('growth-lines', ...(plots.length ? plots.map((growth) => drawGrowth(growth, numbers)) : [none]));
}

function drawCosts(record, choice, positions) {
    const shown = record.implementations.filter((implementation) =>
        inPrecision(implementation, choice.precision) && (!choice.only || choice.only.includes(implementation.label)));
    const quantities = Object.keys(index.costs).filter((quantity) => shown.some(({ figures }) => figures[quantity]));
    const rows = inTableOrder(positions).flatMap((position, place) =>
        shown
            .filter((implementation) => quantities.some((quantity) => recorded(implementation, quantity, position)))
            .map((implementation) => [
                { text: implementation.label, head: true },
                { text: shapeText(position), value: place },
                ...quantities.map((quantity) => costCell(implementation, quantity, position))
            ])
    );
    const headings = [['Implementation', 'text'], [shapeHeading(), 'text'],
        ...quantities.map((quantity) => index.costs[quantity])];
    const caption = 'Build time, memory, error and the GPU’s own time';
    fill('costs-table', rows.length > 0 && drawTable('costs-rows', caption, headings, rows, choice.sort));
    fill('costs-elsewhere', ...missingCosts(record));
}

function costCell(implementation, quantity, position) {
    const figure = recorded(implementation, quantity, position);
    return figure ? {
        text: figure.text,
        value: figure.value,
        className: figure.value === null ? 'failed' : '',
        lines: [
            `${implementation.label}, ${index.costs[quantity]}, ${shapeText(position)}`,
            figure.text,
            counted(figure.samples, 'sample'),
            ...doubtLines(figure)
        ]
    } : absent();
}

/* Quantities that this commit lacks, with a link to the machine's newest commit that has them. */
function missingCosts(record) {
    const elsewhere = new Map();
    for (const quantity of Object.keys(index.costs).filter((name) => !record.commit.costs.includes(name))) {
        const other = record.machine.records.find(({ costs }) => costs.includes(quantity));
        if (other) {
            elsewhere.set(other, [...(elsewhere.get(other) || []), index.costs[quantity]]);
        }
    }
    return Array.from(elsewhere, ([other, names]) => [
        `Not measured at this commit: ${listed(names)}. Last recorded at `,
        make('a', { href: `${addressOf(record.machine, other)}#costs` }, shortened(other.commit)),
        '. '
    ]).flat();
}

function addressOf(machine, commit) {
    return addressWith({ machine: machine.name, commit: shortened(commit.commit), against: null });
}

function drawSoftware(record, choice) {
    const environments = unique(record.implementations.filter(isTimed).map(({ environment }) => environment));
    const facts = [...record.machine.facts, ['environment', listed(environments)]];
    element('facts').replaceChildren(
        ...facts.map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', {}, value)))
    );
    fill('software-table', drawTexts('software-rows', record.software, choice.sort));
}
