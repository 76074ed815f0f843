'use strict';

/* The controls: what they offer, and what a change of one does. */

function drawChoices(record, other, choice) {
    const { machine } = record;
    const withRecords = index.machines.filter(({ records }) => records.length);
    const text = (one, commit) => `${one === machine ? '' : `${one.name}, `}${recordText(commit)}`;
    const options = (one) => one.records.filter((commit) => commit !== record.commit && commit.implementations)
        .map((commit) => [`${one.name}@${shortened(commit.commit)}`, text(one, commit)]);
    fillSelect('machine', withRecords.map(({ name, hardware }) => [name, `${name}: ${hardware}`]), machine.name);
    fillSelect('commit', machine.records.map((one) => [one.commit, recordText(one)]), record.commit.commit);
    fillSelect('against', [
        ['', 'nothing'],
        ['Other commits', options(machine)],
        ['Other machines', withRecords.filter((one) => one !== machine).flatMap(options)],
        ['Published in 2016', index.published.map(({ name }) => [`${PUBLISHED}@${name}`, `GTX TITAN X, ${name}`])]
    ], other ? againstText(other) : '');
    const networks = Object.entries(index.networks).map(([name, { title }]) => [name, title]);
    fillSelect('network', networks, choice.network);
    fillSelect('grid', Object.entries(index.grids).map(([name, [description]]) => [name, description]), choice.grid);
    fillSelect('precision', choice.precisions.map((name) => [name, index.precisions[name]]), choice.precision);
    const names = choice.names.map((name) => [name, name]);
    fillSelect('baseline', [[FASTEST, `the fastest at each ${index.noun}`], ...names], choice.baseline);
    const isChecked = (name) => !choice.only || choice.only.includes(name);
    element('only').replaceChildren(element('only').firstElementChild, ...choice.names.map((name) =>
        make('label', {}, make('input', { type: 'checkbox', value: name, checked: isChecked(name) }), ` ${name}`)));
    element('chosen').textContent = [
        `${choice.grid} grid`,
        index.precisions[choice.precision],
        `1× is ${choice.baseline === FASTEST ? 'the fastest' : choice.baseline}`,
        howMany(choice)
    ].join(' · ');
}

function howMany({ only, names }) {
    return `${only ? `${only.length} of` : 'all'} ${counted(names.length, 'implementation')}`;
}

function recordText({ commit, date, implementations, shapes }) {
    const holds = `${counted(implementations, 'implementation')}, ${counted(shapes, index.noun)}`;
    return `${shortened(commit)}, ${date} – ${holds}`;
}

/* A control with a single value is hidden, because there is nothing to choose. An option is [value, text]. A group is
   [text, options]. */
function fillSelect(id, options, chosen) {
    const option = ([value, text]) => make('option', { value, selected: value === chosen }, text);
    const group = (label, members) => members.length > 0 && make('optgroup', { label }, ...members.map(option));
    const drawn = options.map(([value, text]) => (Array.isArray(text) ? group(value, text) : option([value, text])));
    fill(id, ...drawn);
    element(id).value = chosen;
    element(id).parentElement.hidden = element(id).options.length < 2;
}

function chosenNames() {
    const boxes = Array.from(element('only').querySelectorAll('input'));
    const names = boxes.filter(({ checked }) => checked).map(({ value }) => value);
    return names.length === boxes.length ? null : names.join(',');
}

/* Go to an address that differs in these parameters. The Back button returns from it. */
function choose(changes) {
    history.pushState(null, '', addressWith(changes));
    render();
}

/* Keep the order of a table in the address. The table has changed already, so nothing is drawn anew. */
function rememberSort(id, direction) {
    shown.choice.sort[id] = direction;
    const sort = Object.entries(shown.choice.sort).map((pair) => pair.join(':'));
    history.replaceState(null, '', addressWith({ sort: sort.join(',') }));
}

/* The machine and the commit that are shown, so that a link stays when there are newer results. */
function place() {
    return { machine: shown.record.machine.name, commit: shortened(shown.record.commit.commit) };
}

function listenToControls() {
    element('choices').addEventListener('submit', (event) => event.preventDefault());
    element('machine').addEventListener('change', (event) =>
        choose({
            machine: event.target.value,
            commit: null,
            grid: null,
            precision: null,
            baseline: null,
            only: null,
            against: null
        })
    );
    element('commit').addEventListener('change', (event) =>
        choose({ machine: shown.record.machine.name, commit: shortened(event.target.value) })
    );
    // Each network has records of its own.
    element('network').addEventListener('change', (event) =>
        choose({
            machine: shown.record.machine.networks[event.target.value] ? shown.record.machine.name : null,
            commit: null,
            network: event.target.value,
            grid: null,
            precision: null,
            baseline: null,
            only: null,
            against: null
        })
    );
    for (const name of ['against', 'grid']) {
        element(name).addEventListener('change', (event) => choose({ ...place(), [name]: event.target.value }));
    }
    // Each precision has implementations of its own.
    element('precision').addEventListener('change', (event) =>
        choose({ ...place(), precision: event.target.value, baseline: null, only: null })
    );
    element('baseline').addEventListener('change', (event) =>
        choose({ ...place(), baseline: event.target.value === FASTEST ? null : event.target.value })
    );
    element('only').addEventListener('change', () => choose({ ...place(), only: chosenNames() }));
    element('reset').addEventListener('click', () =>
        choose({ grid: null, precision: null, baseline: null, only: null, sort: null })
    );
    element('copy-link').addEventListener('click', () => copyText(new URL(addressWith(place()), location.href).href));
    element('save-svg').addEventListener('click', () => save(fileName('svg'), picture(), 'image/svg+xml'));
    element('save-png').addEventListener('click', async () => save(fileName('png'), await asPng(picture())));
    const figures = () => shownFigures(shownRecords(), shown.choice, shown.positions);
    element('save-csv').addEventListener('click', () => save(fileName('csv'), asCsv(figures()), 'text/csv'));
    element('save-json').addEventListener('click', () =>
        save(fileName('json'), asJson(shownRecords(), shown.choice, figures()), 'application/json')
    );
}
