'use strict';

/* Tables that can be sorted and scrolled. */

/* A table within a region that scrolls. `columns` are headings, or [heading, class]. A cell is a text, or an object
   with its text, and maybe a value to sort by, nodes, a class, the lines of its note, or `head` for a row's heading.
   A visitor sorts by a click on a heading. The choice is kept under the table's id. */
function drawTable(id, caption, columns, rows, sort) {
    const headings = columns.map((column) => (typeof column === 'string' ? [column, ''] : column));
    const body = make('tbody', {}, ...rows.map((row) => tableRow(row, headings)));
    const buttons = headings.map(([heading], column) =>
        make('button', { type: 'button', 'data-column': column }, heading)
    );
    const table = make(
        'table',
        { id },
        make('caption', {}, caption),
        make(
            'thead',
            {},
            make(
                'tr',
                {},
                ...buttons.map((button, column) =>
                    make('th', { scope: 'col', class: headings[column][1] || null }, button)
                )
            )
        ),
        body
    );
    const [column, direction] = (sort[id] || '').split('.');
    if (headings[column]) {
        sortRows(table, Number(column), direction === 'down');
    }
    buttons.forEach((button, column) =>
        button.addEventListener('click', function () {
            const header = button.parentElement;
            const down = header.getAttribute('aria-sort') === 'ascending';
            sortRows(table, column, down);
            rememberSort(id, `${column}.${down ? 'down' : 'up'}`);
        })
    );
    showTips(() => Array.from(body.rows, (row) =>
        Array.from(row.cells).filter((cell) => cell.lines).map((cell) => [cell, cell.lines])));
    return scrollable(caption, table);
}

function tableRow(row, headings) {
    return make(
        'tr',
        {},
        ...row.map(function (cell, column) {
            const { text, nodes, value, lines, head, className } = typeof cell === 'object' ? cell : { text: cell };
            const node = make(
                head ? 'th' : 'td',
                {
                    scope: head ? 'row' : null,
                    class: [headings[column][1], className].filter(Boolean).join(' ') || null
                },
                ...(nodes || [text])
            );
            node.value = value === undefined ? text : value;
            node.lines = lines;
            return node;
        })
    );
}

/* Sort the rows by a column. Cells without a number come last. */
function sortRows(table, column, down) {
    const body = table.tBodies[0];
    const key = function (row) {
        const { value } = row.cells[column];
        return typeof value === 'string' && /^-?\d/.test(value) ? parseFloat(value) : value;
    };
    const order = (a, b) =>
        typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b));
    const rows = Array.from(body.rows);
    const [full, empty] = [true, false].map((wanted) => rows.filter((row) => wanted === !isEmpty(row.cells[column])));
    full.sort((a, b) => order(key(a), key(b)) * (down ? -1 : 1));
    body.replaceChildren(...full, ...empty);
    table.querySelectorAll('th[aria-sort]').forEach((header) => header.removeAttribute('aria-sort'));
    table.tHead.rows[0].cells[column].setAttribute('aria-sort', down ? 'descending' : 'ascending');
}

function isEmpty(cell) {
    return cell.value === null || cell.classList.contains('absent') || cell.classList.contains('failed');
}

/* A sentence at the edge says that there is more, as long as something is cut off. */
function scrollable(label, content) {
    const region = make('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': label }, content);
    const sign = make('p', { class: 'more-columns', hidden: true }, 'There are more columns: scroll to the right →');
    const check = () => {
        sign.hidden = region.scrollWidth - region.clientWidth - region.scrollLeft < 4;
    };
    region.addEventListener('scroll', check);
    new ResizeObserver(check).observe(region);
    return make('div', { class: 'table' }, sign, region);
}

/* Lay out a table of texts that Python wrote; null if it has no rows. `isShown` says which rows are shown. */
function drawTexts(id, [caption, headings, lines], sort, isShown = () => true) {
    const rows = lines.filter(isShown).map(([first, ...others]) => [{ text: first, head: true }, ...others]);
    return rows.length ? drawTable(id, caption, headings.map(capitalized), rows, sort) : null;
}

function capitalized(text) {
    return text.charAt(0).toUpperCase() + text.slice(1);
}
