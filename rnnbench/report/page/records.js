'use strict';

/* The data that Python wrote: an index, and a file for each record, which is loaded when it is shown. A record is
   what one machine measured at one commit of one group of networks: LSTMs, or models, for example. A position stands
   for a shape, or for a model. */

const CALLS = ['train', 'forward'];
const CALL_TITLES = { train: 'Train step', forward: 'Forward pass' };

const receivedFiles = new Map();
let index = null;

/* A data file calls this, with its content as JSON. */
function receive(name, text) {
    receivedFiles.set(name, JSON.parse(text));
    if (name === 'index') {
        index = receivedFiles.get(name);
        // A stranger's implementation may be called constructor, which every object has.
        index.variants = new Map(Object.entries(index.variants));
    }
}

/* Turn to a group of networks: its words, shapes and grids, and what each machine has measured of it. */
function turnTo(network) {
    Object.assign(index, index.networks[network], { network });
    index.machines.forEach((machine) => Object.assign(machine, { records: [] }, machine.networks[network]));
}

function load(name) {
    return new Promise(function (resolve, reject) {
        const unread = new Error(`data/${name}.js can’t be read`);
        const done = () => (receivedFiles.has(name) ? resolve(receivedFiles.get(name)) : reject(unread));
        if (receivedFiles.has(name)) {
            done();
            return;
        }
        const script = make('script', { src: `data/${name}.js?${index.project.version}` });
        script.addEventListener('load', done);
        script.addEventListener('error', done);
        document.head.append(script);
    });
}

/* Load the record of a machine and a commit, or the figures published under a name. Its implementations have their
   figures by quantity and by the position of a shape. */
async function loadRecord({ machine, commit, published }, network) {
    const source = published || (await load(`${index.machines.indexOf(machine)}-${commit.commit}-${network}`));
    const implementations = source.implementations.map((implementation) => ({
        ...implementation,
        ...describedBy(implementation.name),
        figures: Object.fromEntries(
            Object.entries(implementation.figures).map(([quantity, rows]) => [quantity, new Map(rows.map(figureFrom))])
        )
    }));
    return { ...source, machine, commit, published, implementations };
}

function figureFrom([position, value, low, high, text, samples, marks = []]) {
    return [position, { position, value, low, high, text, samples, marks }];
}

/* What the registry says of an implementation; one that is no longer there has its name alone. */
function describedBy(name) {
    const [title, description, isOurs] = index.variants.get(name) || [name, '', false];
    return { title, description, isOurs };
}

function recordName({ machine, commit, published }) {
    return published ? `${published.name} (2016)` : `${machine.name} at ${shortened(commit.commit)}`;
}

function shortened(hash) {
    return hash.slice(0, 8);
}

/* The figure, undefined if there is none. Its value is null if the call failed. */
function recorded(implementation, quantity, position) {
    const figures = implementation.figures[quantity];
    return figures && figures.get(position);
}

/* The figure, or null if the call failed or wasn't measured. */
function measured(implementation, quantity, position) {
    const figure = recorded(implementation, quantity, position);
    return figure && figure.value !== null ? figure : null;
}

function shapeText(position) {
    return index.names ? index.names[position] : index.shapes[position].join(' × ');
}

/* The heading of a column with shapes or models. */
function shapeHeading() {
    return index.names ? 'Model' : 'Batch × seq × hidden × depth';
}

/* The published tables use this order: depth, seq, batch, hidden. Models have their own. */
function inTableOrder(positions) {
    if (index.names) {
        return positions;
    }
    const key = (position) => {
        const [batch, seq, hidden, depth] = index.shapes[position];
        return [depth, seq, batch, hidden];
    };
    return positions.slice().sort(function (a, b) {
        const [one, other] = [key(a), key(b)];
        const place = one.findIndex((size, axis) => size !== other[axis]);
        return place < 0 ? 0 : one[place] - other[place];
    });
}

/* Why a cell has no figure. */
function absenceReason({ machine }, implementation, quantity, position) {
    if (recorded(implementation, quantity, position)) {
        return index.failed;
    }
    const reasons = Object.entries(machine.absent);
    const [reason] = reasons.find(([, variants]) => variants.includes(implementation.name)) || [];
    const [unsupported] = Object.entries(index.unsupported)
        .find(([, variants]) => (variants[implementation.name] || []).includes(position)) || [];
    return reason || unsupported || machine.large[position] || 'not measured at this commit';
}
