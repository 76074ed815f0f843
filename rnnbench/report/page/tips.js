'use strict';

/* The note beside a dot or a time: on hover, on a tap, and with the arrow keys. */

/* Let items show their notes. `rowsOf` returns rows of them, each a list of [node, lines]. The Tab key leads to one
   node, and the arrow keys lead from there to the others. */
function showTips(rowsOf) {
    rowsOf().flat().forEach(function ([node, lines], number) {
        node.setAttribute('tabindex', number ? '-1' : '0');
        node.addEventListener('focus', () => showTip(node, lines));
        node.addEventListener('blur', hideTip);
        node.addEventListener('pointerenter', () => showTip(node, lines));
        node.addEventListener('pointerleave', hideTip);
        node.addEventListener('click', () => showTip(node, lines));
        node.addEventListener('keydown', function (event) {
            const target = event.key === 'Escape' ? hideTip() : neighbour(node, event.key, rowsOf());
            if (target) {
                event.preventDefault();
                node.setAttribute('tabindex', '-1');
                target[0].setAttribute('tabindex', '0');
                target[0].focus();
            }
        });
    });
}

/* The item to which a key leads. */
function neighbour(node, key, allRows) {
    const rows = allRows.filter((row) => row.length);
    const down = rows.findIndex((row) => row.some(([other]) => other === node));
    const row = rows[down];
    const across = row.findIndex(([other]) => other === node);
    return {
        ArrowRight: row[across + 1],
        ArrowLeft: row[across - 1],
        ArrowDown: nearest(rows[down + 1], node),
        ArrowUp: nearest(rows[down - 1], node),
        Home: row[0],
        End: row[row.length - 1]
    }[key];
}

/* The item of a row that is closest to a node from left to right. */
function nearest(row, node) {
    const middle = ([item]) => {
        const { left, right } = item.getBoundingClientRect();
        return (left + right) / 2;
    };
    const from = middle([node]);
    return (
        row && row.reduce((best, item) => (Math.abs(middle(item) - from) < Math.abs(middle(best) - from) ? item : best))
    );
}

function showTip(node, lines) {
    const tip = element('tip');
    tip.replaceChildren(...lines.map((line, position) => make('div', { class: position ? null : 'first' }, line)));
    tip.hidden = false;
    const { left, right, top, bottom } = node.getBoundingClientRect();
    const rightmost = document.documentElement.clientWidth - tip.offsetWidth - 8;
    const above = top - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(8, Math.min((left + right - tip.offsetWidth) / 2, rightmost))}px`;
    tip.style.top = `${above > 4 ? above : bottom + 8}px`;
}

function hideTip() {
    element('tip').hidden = true;
}

/* What a time's note says. */
function figureLines(record, implementation, quantity, position, figure) {
    const floors = record.floors[implementation.precision][quantity];
    const [seconds, bound] = floors[position] || [];
    const onGpu = measured(implementation, `device_${quantity}`, position);
    const bounds = { compute: 'arithmetic', memory: 'memory bandwidth' };
    return [
        `${implementation.label}, ${quantity}, ${shapeText(position)}`,
        `${figure.text} µs per example`,
        ...(onGpu ? [`${onGpu.text} µs on the GPU itself, without waiting for the host`] : []),
        counted(figure.samples, 'sample'),
        ...(seconds ? [`${percent(seconds / figure.value)} of the floor, which ${bounds[bound]} sets`] : []),
        ...doubtLines(figure)
    ];
}

function doubtLines({ marks }) {
    return marks.map((mark) => `doubtful (${mark}): ${index.marks[mark]}`);
}
