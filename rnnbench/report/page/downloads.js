'use strict';

/* What a visitor can take along: the link, the shown figures and the chart. */

const FIGURE_COLUMNS = [
    'machine',
    'commit',
    'environment',
    'network',
    'depth',
    'batch',
    'seq',
    'hidden',
    'implementation',
    'quantity',
    'state',
    'unit',
    'value',
    'q25',
    'q75',
    'low95',
    'high95',
    'samples',
    'marks'
];

/* The shown figures, with the columns of `rnnbench report --format csv`. Times are in µs per example. */
function shownFigures(records, choice, positions) {
    return records.flatMap((record) =>
        inTableOrder(positions).flatMap((position) =>
            shownImplementations(record, choice).flatMap((implementation) =>
                Object.entries(implementation.figures).flatMap(function ([quantity, figures]) {
                    const figure = figures.get(position);
                    return figure ? [figureRecord(record, implementation, quantity, figure)] : [];
                })
            )
        )
    );
}

function figureRecord(record, implementation, quantity, { position, value, low, high, samples, marks }) {
    const [batch, seq, hidden, depth] = index.shapes[position];
    const covers = CALLS.includes(quantity) && record.covers;
    const unit = index.units[quantity] || 's';
    const scale = unit === 'µs per example' ? 1e6 / batch : 1;
    const inUnit = (number) => (number === null ? null : number * scale);
    return {
        machine: record.published ? PUBLISHED : record.machine.name,
        commit: record.published ? '' : record.commit.commit,
        environment: implementation.environment,
        network: index.names ? index.names[position] : index.network,
        depth,
        batch,
        seq,
        hidden,
        implementation: implementation.name,
        quantity,
        state: value === null ? 'failed' : 'ok',
        unit,
        value: inUnit(value),
        // An interval covers the spread between processes, or else it has the quartiles.
        q25: covers ? null : inUnit(low),
        q75: covers ? null : inUnit(high),
        low95: covers ? inUnit(low) : null,
        high95: covers ? inUnit(high) : null,
        samples,
        marks: marks.join(' ')
    };
}

function asCsv(rows) {
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
    const lines = rows.map((row) => FIGURE_COLUMNS.map((name) => quoted(String(row[name] === null ? '' : row[name]))));
    return [FIGURE_COLUMNS, ...lines].map((cells) => `${cells.join(',')}\n`).join('');
}

function asJson(records, choice, rows) {
    const content = {
        address: location.href,
        shown: records.map((record) => ({
            name: recordName(record),
            date: record.commit ? record.commit.date : null,
            facts: record.machine ? Object.fromEntries(record.machine.facts) : {}
        })),
        networks: choice.network,
        precision: index.precisions[choice.precision],
        grid: choice.grid,
        figures: rows
    };
    return `${JSON.stringify(content, null, 1)}\n`;
}

/* The chart as a file of its own: with its title, its source and its colours. */
function asSvg(drawing, title, source) {
    const paint = ['fill', 'fill-opacity', 'stroke', 'stroke-width', 'paint-order'];
    const styles = [...paint, 'font-size', 'font-weight', 'text-anchor'];
    const copy = drawing.cloneNode(true);
    const originals = drawing.querySelectorAll('*');
    copy.querySelectorAll('*').forEach(function (node, place) {
        const computed = getComputedStyle(originals[place]);
        styles.forEach((name) => node.setAttribute(name, computed.getPropertyValue(name)));
        ['class', 'tabindex', 'role'].forEach((name) => node.removeAttribute(name));
    });
    const [width, height] = ['width', 'height'].map((name) => Number(drawing.getAttribute(name)));
    const page = getComputedStyle(document.body);
    const written = (text, y, size) => svg('text', { x: 12, y, fill: page.color, 'font-size': size }, text);
    const framed = { width: width + 24, height: height + 66, viewBox: `0 0 ${width + 24} ${height + 66}` };
    return svg('svg', { xmlns: 'http://www.w3.org/2000/svg', 'font-family': 'sans-serif', ...framed },
        svg('rect', { width: '100%', height: '100%', fill: page.backgroundColor }),
        written(title, 26, 17),
        svg('g', { transform: 'translate(12 40)' }, ...copy.childNodes),
        written(source, height + 56, 11)
    ).outerHTML;
}

/* The picture as PNG, twice as wide as on the screen. */
function asPng(text) {
    return new Promise(function (resolve, reject) {
        const picture = new Image();
        picture.onload = function () {
            const canvas = make('canvas', { width: 2 * picture.width, height: 2 * picture.height });
            const context = canvas.getContext('2d');
            context.scale(2, 2);
            context.drawImage(picture, 0, 0);
            canvas.toBlob(resolve, 'image/png');
        };
        picture.onerror = () => reject(new Error('the browser can’t draw the chart as PNG'));
        picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
    });
}

function save(name, content, type) {
    const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
    const link = make('a', { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    say(`Saved as ${name}.`);
}

async function copyText(text) {
    try {
        await navigator.clipboard.writeText(text);
    } catch {
        // A page from disk or from another machine may not use the clipboard, but may copy a selection.
        const field = make('textarea', {}, text);
        document.body.append(field);
        field.select();
        document.execCommand('copy');
        field.remove();
    }
    say('The link is copied.');
}

function say(text) {
    element('done').textContent = text;
}

function shownRecords() {
    return shown.other ? [shown.record, shown.other] : [shown.record];
}

function picture() {
    const source = `${listed(shownRecords().map(recordName))}, ${shown.choice.grid} grid – rnnbench`;
    const open = shown.other ? 'within the noise' : 'in doubt';
    const key = `A dot is a ${index.noun} (open: ${open}), a bar the geometric mean.`;
    return asSvg(shown.drawing, element('chart-title').textContent, `${source}. ${key}`);
}

function fileName(extension) {
    const names = shownRecords().map(({ machine, commit, published }) =>
        published ? PUBLISHED : `${machine.name}-${shortened(commit.commit)}`);
    return `rnnbench-${names.join('-')}.${extension}`;
}
