'use strict';

/* Ratios and their texts. The digits come from Python, so that page and terminal round alike. */

/* The text of a number: `digits` is a list of [limit, decimals]. The first limit above the number counts. */
function rounded(value, digits) {
    const [, decimals] = digits.find(([limit]) => limit === null || value < limit);
    return value.toFixed(decimals);
}

function multiple(value) {
    return `${rounded(value, index.digits.ratio)}×`;
}

function inBrackets(low, high) {
    return `(${rounded(low, index.digits.ratio)}–${rounded(high, index.digits.ratio)})`;
}

function percent(value) {
    return `${rounded(100 * value, index.digits.percent)}%`;
}

function geometricMean(values) {
    return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/* How many times as long the other figure takes, with the interval that the intervals of both allow: the rule of
   rnnbench/report/uncertainty.py. `covers` is whether both intervals cover the spread between processes. `told` is
   whether the machines can tell the two apart: the interval excludes 1, and the change is one that they detect. */
function compareFigures(own, other, covers, detectable) {
    const ratio = other.value / own.value;
    let low = null,
        high = null;
    if (own.low && other.low) {
        const width = Math.hypot(Math.log(own.high / own.low), Math.log(other.high / other.low)) / 2;
        [low, high] = covers
            ? [ratio / Math.exp(width), ratio * Math.exp(width)]
            : [other.low / own.high, other.high / own.low];
    }
    const contains1 = low !== null && low <= 1 && high >= 1;
    return { ratio, low, high, told: !contains1 && Math.max(ratio, 1 / ratio) >= 1 + detectable };
}

/* Round numbers within a range: 1, 2 and 5 times each power of ten, fewer in a wide range and more in a narrow one. */
function ticksBetween(low, high) {
    const steps = high / low > 300 ? [1] : high / low > 5 ? [1, 2, 5] : [1, 1.2, 1.5, 2, 3, 4, 5, 6, 8];
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)); power += 1) {
        steps.forEach((step) => ticks.push(Number(`${step}e${power}`)));
    }
    return ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
}
