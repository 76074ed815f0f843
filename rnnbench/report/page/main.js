'use strict';

/* The page: it reads the choice from the address, draws all sections, and writes the address when a visitor chooses. */

let shown = null; // what is drawn: { record, other, choice, positions, chart, drawing }
let latestRequest = 0;

const MODELS_DOCUMENT = 'models.html'; // says where each model comes from

async function render() {
    const request = ++latestRequest;
    if (!index) {
        showStatus('This page can’t read its data. Run make publish again.');
        return;
    }
    const { choice: wanted, problems } = readChoice(location.search);
    if (!wanted) {
        showStatus('There are no results yet. Run make bench to time a first grid.');
        return;
    }
    try {
        const record = await loadRecord(wanted, wanted.network);
        const other = wanted.against && (await loadRecord(wanted.against, wanted.network));
        if (request !== latestRequest) {
            return; // the visitor has made another choice meanwhile
        }
        const choice = completed(wanted, record, problems);
        draw(record, other, choice, problems);
        performance.mark('drawn');
    } catch (error) {
        element('results').hidden = true;
        showStatus(`${error.message}. Reload the page. If that doesn’t help, run make publish again.`);
    }
}

function draw(record, other, choice, problems) {
    const positions = index.grids[choice.grid][1];
    const standings = standingsOf(record, choice, positions);
    const pairs = other && pairsOf(record, other, choice, positions);
    const chart = other ? comparisonChart(record, other, pairs) : rankingChart(record, choice, standings);
    shown = { record, other, choice, positions, chart };
    element('results').hidden = false;
    showStatus(problems.length ? `${problems.join(' ')} Shown instead: ${recordName(record)}.` : '');
    hideTip();
    drawChoices(record, other, choice);
    fill('answer', ...(other ? [comparisonSentence(record, other, pairs)] : answerOf(record, choice)));
    drawTitle(record, other, choice, positions);
    drawChart();
    fill('chart-key', ...keyOf(record, other, choice));
    fill('chart-notes', ...(other ? [] : markNotes(standings.flatMap(marksOf))));
    element('comparison').hidden = !other;
    fill('comparison-table', other && pairs.length > 0 && comparisonTable(record, other, pairs, choice.sort));
    const differences = (other && other.published && other.published.differences) || [];
    fill('comparison-differences', ...differences.map((line) => make('li', {}, line)));
    drawSummary(record, choice, standings);
    drawRanking(record, choice, positions);
    drawTimes(record, choice, positions, standings);
    Object.keys(FOLDED).forEach(drawFolded);
}

function drawTitle(record, other, choice, positions) {
    element('network-name').textContent = index.names ? 'recurrent network' : index.title;
    const title = other ? `${recordName(record)} and ${recordName(other)}` :
        `${index.title} on ${record.machine.hardware}, ${index.precisions[choice.precision]}`;
    const details = [...(other ? [] : [counted(positions.length, index.noun)]), ...(choice.only ? [howMany(choice)] : [])];
    element('chart-title').textContent = [title, ...details].join(', ');
    linkTo('commit-link', index.project.commit && `${index.project.commit}${record.commit.commit}`);
    document.title = `${title}${other ? '' : ': which is fastest?'} – rnnbench`;
}

function marksOf(standing) {
    return CALLS.flatMap((quantity) => standing[quantity].ratios.flatMap(({ figure }) => figure.marks));
}

/* Draw the chart in the width that it has. */
function drawChart() {
    const isEmpty = !shown || !shown.chart.rows.length;
    ['chart', 'save-svg', 'save-png'].forEach((id) => { element(id).hidden = isEmpty; });
    if (!isEmpty) {
        shown.drawing = drawDots(element('dots'), shown.chart);
    }
}

/* The answer in a sentence; where nothing can be compared, what there is and what to do. */
function answerOf(record, choice) {
    const { names, grid, precision } = choice;
    const sentence = (record.sentences[grid] || {})[precision];
    const parts = [];
    if (sentence) {
        parts.push(...withNames(sentence));
    } else if (names.length) {
        parts.push(`${listed(names)} ${names.length > 1 ? 'were' : 'was'} timed on ${recordName(record)}. ` +
            `In the ${grid} grid no two implementations have a train step to compare.`);
    } else {
        parts.push(`No times were recorded on ${recordName(record)}.`);
    }
    if (timedIn(record, precision).every(({ isOurs }) => isOurs)) {
        parts.push(' To time PyTorch, JAX and others here: ', make('code', {}, index.command), '.');
        const all = index.machines.flatMap((machine) => machine.records.map((commit) => ({ machine, commit })));
        const richest = all.reduce((best, one) => (one.commit.answers > best.commit.answers ? one : best));
        if (richest.commit.answers > record.commit.answers) {
            const has = `${recordName(richest)} has ${counted(richest.commit.implementations, 'implementation')}`;
            parts.push(' ', make('a', { href: addressOf(richest.machine, richest.commit) }, has), '.');
        }
    }
    return parts;
}

/* What the marks of the chart mean. */
function keyOf(record, other, choice) {
    const sizes = index.names ? '' : ': batch × seq (time steps) × hidden (width) × depth (layers)';
    const explained = index.names && index.project.documents.includes(MODELS_DOCUMENT);
    const noun = explained ? make('a', { href: `docs/${MODELS_DOCUMENT}` }, index.noun) : index.noun;
    const picture = (mark) =>
        svg('svg', { viewBox: '0 0 14 14', width: 14, height: 14, 'aria-hidden': 'true', class: 'chart' }, mark);
    const dot = (className) => picture(svg('circle', { class: className, cx: 7, cy: 7, r: DOT_RADIUS }));
    const bar = picture(svg('line', { class: 'mean', x1: 7, x2: 7, y1: 1, y2: 13 }));
    return [
        make('span', {}, dot('dot'), ' a ', noun, other ? '' : sizes),
        make('span', {}, bar, ' the geometric mean'),
        make('span', {}, dot('dot open'), other ? ' within the noise' : ' a figure in doubt'),
        make('span', {}, other ? `To the right of 1×, ${recordName(record)} is faster.` :
            `Further left is faster. Grid ${index.grids[choice.grid][0]}.`)
    ];
}

const FOLDED = { floor: drawFloor, growth: drawGrowthSection, costs: drawCosts, software: drawSoftware };

/* An address can name a section, which then opens. */
function openSection() {
    const section = location.hash && document.getElementById(location.hash.slice(1));
    if (section) {
        section.open = true;
        section.scrollIntoView();
    } else if (location.hash === '#from-disk') {
        showStatus('A browser doesn’t show asv’s pages from disk. Run make preview, which serves them.');
    }
}

/* A folded section is drawn when it is opened, so that the first view comes soon. */
function drawFolded(id) {
    if (shown && FOLDED[id] && element(id).open) {
        FOLDED[id](shown.record, shown.choice, shown.positions);
    }
}

function showStatus(text) {
    element('status').textContent = text;
    element('status').hidden = !text;
}

function start() {
    listenToControls();
    const folded = document.querySelectorAll('#results > details');
    folded.forEach((details) => details.addEventListener('toggle', () => drawFolded(details.id)));
    window.addEventListener('popstate', render);
    window.addEventListener('hashchange', openSection);
    // Paper shows everything.
    window.addEventListener('beforeprint', () =>
        folded.forEach(function (details) {
            details.open = true;
            drawFolded(details.id);
        })
    );
    let width = 0;
    new ResizeObserver(function ([{ contentRect }]) {
        if (contentRect.width !== width) {
            width = contentRect.width;
            drawChart();
        }
    }).observe(element('dots'));
    linkProject();
    render().then(openSection);
}

/* The links that lead out of the page: to documents that were published with it, and to the repository. */
function linkProject() {
    document.querySelectorAll('[data-document]').forEach(function (link) {
        const [file] = link.dataset.document.split('#');
        link.hidden = !index || !index.project.documents.includes(file);
        link.href = `docs/${link.dataset.document}`;
    });
    linkTo('repository', index && index.project.address);
}

function linkTo(id, address) {
    element(id).hidden = !address;
    element(id).href = address;
}

start();
