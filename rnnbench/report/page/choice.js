'use strict';

/* What a visitor chose. The address holds it, so a link restores it. */

const FASTEST = 'fastest';
const PUBLISHED = 'titan-x';

/* The choice that an address asks for, and a sentence for each part of it that doesn't exist. */
function readChoice(search) {
    const params = new URLSearchParams(search);
    const problems = [];
    const network = oneOf('network', Object.keys(index.networks), params, problems) || Object.keys(index.networks)[0];
    turnTo(network);
    const machine = chosenMachine(params, problems);
    if (!machine) {
        return { choice: null, problems };
    }
    const commit = chosenCommit(machine, params.get('commit'), problems);
    const choice = {
        machine,
        commit,
        network,
        precision: oneOf('precision', Object.keys(index.precisions), params, problems),
        grid: oneOf('grid', Object.keys(index.grids), params, problems),
        baseline: params.get('baseline'),
        only: params.has('only') ? params.get('only').split(',').filter(Boolean) : null,
        against: chosenAgainst(params.get('against'), machine, problems),
        sort: Object.fromEntries(
            (params.get('sort') || '')
                .split(',')
                .filter(Boolean)
                .map((part) => part.split(':'))
        )
    };
    return { choice, problems };
}

/* The record with the most figures that compete; the first of equals is the newest. */
function bestRecord(records) {
    return records.reduce((best, record) => (record.answers > best.answers ? record : best));
}

function chosenMachine(params, problems) {
    const machines = index.machines.filter(({ records }) => records.length);
    if (!machines.length) {
        return null;
    }
    const byAnswers = machines.slice().sort((a, b) => bestRecord(b.records).answers - bestRecord(a.records).answers);
    const name = params.get('machine');
    const found = machines.find((machine) => machine.name === name);
    if (name !== null && !found) {
        const names = listed(machines.map((one) => one.name));
        problems.push(`There are no results of a machine “${name}”. The machines are ${names}.`);
    }
    const commit = params.get('commit');
    const withCommit =
        commit && byAnswers.find(({ records }) => records.some((record) => record.commit.startsWith(commit)));
    return found || withCommit || byAnswers[0];
}

function chosenCommit(machine, prefix, problems) {
    const best = bestRecord(machine.records);
    if (prefix === null) {
        return best;
    }
    const found = machine.records.filter(({ commit }) => prefix && commit.startsWith(prefix));
    if (found.length > 1) {
        const hashes = found.map((record) => shortened(record.commit));
        problems.push(`${prefix} is the beginning of several commits: ${listed(hashes)}.`);
    } else if (!found.length) {
        problems.push(`${machine.name} has no results at the commit “${prefix}”.`);
    }
    return found.length === 1 ? found[0] : best;
}

function oneOf(name, values, params, problems) {
    const value = params.get(name);
    if (value !== null && !values.includes(value)) {
        problems.push(`There is no ${name} “${value}”. There is ${listed(values)}.`);
        return null;
    }
    return value;
}

/* The record to compare with: MACHINE@COMMIT, a machine, a commit of the same machine, or the figures of 2016. */
function chosenAgainst(text, machine, problems) {
    if (!text) {
        return null;
    }
    const [before, after] = text.split('@');
    if (before === PUBLISHED) {
        const published = index.published.find(({ name }) => name === after) || index.published[0];
        if (published) {
            return { published };
        }
    }
    const other = index.machines.find(({ name, records }) => name === before && records.length);
    if (other) {
        return { machine: other, commit: chosenCommit(other, after === undefined ? null : after, problems) };
    }
    const ofCommit = after === undefined && machine.records.filter(({ commit }) => commit.startsWith(before));
    if (ofCommit && ofCommit.length === 1) {
        return { machine, commit: ofCommit[0] };
    }
    problems.push(`There is nothing like “${text}” to compare with.`);
    return null;
}

function againstText({ machine, commit, published }) {
    return published ? `${PUBLISHED}@${published.name}` : `${machine.name}@${shortened(commit.commit)}`;
}

/* Complete a choice by what its record has: its grid and precision, and only implementations that it has. */
function completed(choice, record, problems) {
    const precisions = Object.keys(index.precisions).filter((precision) =>
        record.implementations.some((one) => isTimed(one) && one.precision === precision));
    const wanted = choice.precision;
    if (wanted && precisions.length && !precisions.includes(wanted)) {
        problems.push(`${recordName(record)} has no times in ${index.precisions[wanted]}.`);
    }
    const precision = precisions.includes(wanted) ? wanted : precisions[0] || Object.keys(index.precisions)[0];
    const names = timedIn(record, precision).map(({ label }) => label);
    const unknown = unique([...(choice.only || []), choice.baseline || FASTEST]).filter(
        (name) => name !== FASTEST && !names.includes(name)
    );
    if (unknown.length) {
        problems.push(`${recordName(record)} has no times of ${listed(unknown)} in ${index.precisions[precision]}.`);
    }
    const only = (choice.only || []).filter((name) => names.includes(name));
    return {
        ...choice,
        precision,
        precisions,
        names,
        grid: choice.grid || record.grid,
        only: only.length ? only : null,
        baseline: names.includes(choice.baseline) ? choice.baseline : FASTEST
    };
}

function timedIn(record, precision) {
    return record.implementations.filter((one) => isTimed(one) && inPrecision(one, precision));
}

function isTimed(implementation) {
    return CALLS.some((quantity) => implementation.figures[quantity]);
}

/* Whether an implementation competes in a precision. */
function inPrecision(implementation, precision) {
    return index.rivals[precision].includes(implementation.precision);
}

/* The address with some parameters changed; null removes one. */
function addressWith(changes) {
    const params = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) {
        if (value === null || value === '') {
            params.delete(name);
        } else {
            params.set(name, value);
        }
    }
    // Commas, colons and @ are legible in an address, and mean nothing else there.
    const query = params.toString().replace(/%2C/g, ',').replace(/%3A/g, ':').replace(/%40/g, '@');
    return `${location.pathname}${query ? `?${query}` : ''}`;
}
