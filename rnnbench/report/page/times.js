'use strict';

/* The tables of times, and the notes on doubtful and missing figures. */

function drawTimes(record, choice, positions, standings) {
    const ranked = standings.map(({ implementation }) => implementation);
    const shown = unique([...ranked, ...shownImplementations(record, choice)]);
    // A shape that nobody timed would be a row of n/a.
    const isTimedAt = (position) =>
        shown.some((implementation) => CALLS.some((quantity) => recorded(implementation, quantity, position)));
    const shapes = inTableOrder(positions).filter(isTimedAt);
    for (const quantity of CALLS) {
        const timed = shown.filter(({ figures }) => figures[quantity]);
        const rows = shapes.map((position, place) => [
            { text: shapeText(position), value: place, head: true },
            ...timeCells(record, timed, quantity, position)
        ]);
        const figures = timed.flatMap((one) => shapes.map((position) => measured(one, quantity, position)));
        const marks = figures.filter(Boolean).flatMap((figure) => figure.marks);
        const caption = `${CALL_TITLES[quantity]}, µs per example`;
        const headings = [[shapeHeading(), 'text'], ...timed.map(({ label }) => label)];
        const table = timed.length > 0 && drawTable(`times-of-${quantity}`, caption, headings, rows, choice.sort);
        fill(`times-${quantity}`, table, ...markNotes(marks));
    }
    fill('intervals', record.intervals);
    fill('absent', ...absenceSentences(record, positions.filter((position) => !isTimedAt(position)), positions.length));
}

/* The cells of a shape; the fastest is bold if there are several. */
function timeCells(record, implementations, quantity, position) {
    const figures = implementations.map((implementation) => measured(implementation, quantity, position));
    const least = Math.min(...figures.filter(Boolean).map(({ value }) => value));
    return implementations.map(function (implementation, column) {
        const figure = figures[column];
        if (!figure) {
            const reason = absenceReason(record, implementation, quantity, position);
            return recorded(implementation, quantity, position) ? failed(reason) : absent(reason);
        }
        const isFastest = implementations.length > 1 && figure.value === least;
        const [median, spread = ''] = figure.text.split(/(?= \()/);
        return {
            nodes: [make(isFastest ? 'b' : 'span', {}, median), make('span', { class: 'spread' }, spread)],
            value: figure.value,
            className: isFastest ? 'fastest' : '',
            lines: figureLines(record, implementation, quantity, position, figure)
        };
    });
}

function absent(reason) {
    return { text: 'n/a', className: 'absent', value: null, lines: reason && [`n/a: ${reason}`] };
}

function failed(reason) {
    return { text: 'failed', className: 'failed', value: null, lines: [`failed: ${reason}`] };
}

/* One paragraph for each mark: it says how many figures are doubtful, and why. */
function markNotes(marks) {
    const count = (mark) => counted(marks.filter((other) => other === mark).length, 'figure');
    return Object.keys(index.marks).filter((mark) => marks.includes(mark))
        .map((mark) => make('p', { class: 'note' }, `* ${mark} (${count(mark)}): ${index.marks[mark]}.`));
}

/* Which implementations and which of the grid's shapes have no figure, and why. */
function absenceSentences({ machine, implementations }, shapes, shapeCount) {
    const untimed = implementations.filter((one) => !isTimed(one)).map(({ name }) => name);
    const sentences = [];
    for (const [reason, variants] of Object.entries(machine.absent)) {
        const names = variants.filter((name) => untimed.includes(name));
        if (names.length) {
            sentences.push(`Not shown: ${listed(names)}. Reason: ${reason}.`);
        }
    }
    const explained = Object.values(machine.absent).flat();
    const others = untimed.filter((name) => !explained.includes(name));
    if (others.length) {
        sentences.push(`Not timed at this commit: ${listed(others)}. rnnbench variants says what this machine lacks.`);
    }
    if (shapes.length) {
        sentences.push(`Not timed at this commit: ${shapes.length} of the grid’s ${counted(shapeCount, index.noun)}.`);
    }
    const tooLarge = shapes.map((position) => machine.large[position]).filter(Boolean);
    sentences.push(...tooLarge.map((reason) => `Too large: ${reason}.`));
    return sentences.map((sentence) => `${sentence} `);
}
