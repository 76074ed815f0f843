'use strict';

/* Two records beside each other: how many times as long the other one takes, figure by figure. */

/* A list of the figures that both records have: { implementation, quantity, position, own, there, result }. */
function pairsOf(record, other, choice, positions) {
    const detectable = Math.max(...[record, other].map(({ machine }) => (machine ? machine.detectable : 0)));
    const covers = record.covers && Boolean(other.covers);
    const pairs = [];
    for (const quantity of CALLS) {
        for (const implementation of shownImplementations(record, choice)) {
            const counterpart = counterpartOf(implementation, quantity, other, choice);
            for (const position of counterpart ? positions : []) {
                const own = measured(implementation, quantity, position);
                const there = measured(counterpart, quantity, position);
                if (own && there) {
                    const result = compareFigures(own, there, covers, detectable);
                    pairs.push({ implementation, quantity, position, own, there, result });
                }
            }
        }
    }
    return pairs;
}

/* The same implementation in the other record, in the same environment if there is one. Figures whose benchmark has
   another version aren't comparable, because the method differs. */
function counterpartOf(implementation, quantity, other, choice) {
    const version = (one) => one.versions && one.versions[quantity];
    const candidates = other.implementations.filter(
        (one) =>
            one.name === implementation.name &&
            one.figures[quantity] &&
            inPrecision(one, choice.precision) &&
            (!version(one) || version(one) === version(implementation))
    );
    return candidates.find(({ environment }) => environment === implementation.environment) || candidates[0];
}

/* One sentence: how many figures differ, and which way. */
function comparisonSentence(record, other, pairs) {
    const [here, there] = [recordName(record), recordName(other)];
    if (!pairs.length) {
        return `${here} and ${there} have no figure in common in this grid and precision.`;
    }
    const told = pairs.filter(({ result }) => result.told);
    const faster = told.filter(({ result }) => result.ratio > 1).length;
    const mean = multiple(geometricMean(pairs.map(({ result }) => result.ratio)));
    return (
        `Of ${counted(pairs.length, 'time')} that both have, ${here} is faster than ${there} in ${faster} and slower ` +
        `in ${told.length - faster}; ${pairs.length - told.length} differ within the noise. By the geometric mean, ` +
        `${there} takes ${mean} as long.`
    );
}

/* What the chart draws; see dots.js. */
function comparisonChart(record, other, pairs) {
    return {
        rows: unique(pairs.map(({ implementation }) => implementation)),
        axis: `how many times as long ${recordName(other)} takes`,
        dotsOf: (quantity, implementation) =>
            pairs
                .filter((pair) => pair.quantity === quantity && pair.implementation === implementation)
                .map((pair) => ({
                    x: pair.result.ratio,
                    open: !pair.result.told,
                    lines: pairLines(record, other, pair)
                })),
        text: multiple,
        tickText: (tick) => `${tick}×`,
        reference: '1× (equal)',
        name: `How many times as long ${recordName(other)} takes as ${recordName(record)}`
    };
}

function pairLines(record, other, { implementation, quantity, position, own, there, result }) {
    const { ratio, low, high } = result;
    return [
        `${implementation.label}, ${quantity}, ${shapeText(position)}`,
        `${recordName(record)}: ${own.text} µs`,
        `${recordName(other)}: ${there.text} µs`,
        `${multiple(ratio)}${low === null ? '' : ` ${inBrackets(low, high)}`}, ${verdict(result)}`
    ];
}

function verdict({ ratio, told }) {
    return told ? (ratio > 1 ? 'faster here' : 'slower here') : 'within the noise';
}

function comparisonTable(record, other, pairs, sort) {
    const rows = pairs.map(function (pair) {
        const { implementation, quantity, position, own, there, result } = pair;
        return [
            { text: implementation.label, head: true },
            quantity,
            { text: shapeText(position), value: position },
            { text: own.text, value: own.value },
            { text: there.text, value: there.value },
            { text: multiple(result.ratio), value: result.ratio, lines: pairLines(record, other, pair) },
            { text: verdict(result), className: result.told ? (result.ratio > 1 ? 'better' : 'worse') : 'noise' }
        ];
    });
    return drawTable(
        'pairs',
        `Each time of ${recordName(record)} and ${recordName(other)}, µs per example`,
        [
            ['Implementation', 'text'],
            ['Call', 'text'],
            [shapeHeading(), 'text'],
            recordName(record),
            recordName(other),
            'Ratio',
            ['Difference', 'text']
        ],
        rows,
        sort
    );
}
