'use strict';

/* The tab "Recurrent networks". It loads an index, and one file for the chosen machine and commit.
   Results may come from strangers, so the page sets their strings as text and never as HTML. */
$(document).ready(function () {
    const NAME = 'recurrent-networks';
    const SIZES = ['batch', 'seq', 'hidden', 'depth'];
    const CALLS = ['train', 'forward'];
    const LINE_STYLES = 6;  // the number of line colours, and of markers
    // A heat map's colours change at these values, from the lightest to the darkest.
    const SPEEDUP_STEPS = [1, 1.5, 2, 3, 5, 8];
    const FLOOR_STEPS = [0, 5, 10, 20, 40, 70];
    const BOUND_NAMES = { compute: 'arithmetic', memory: 'memory bandwidth' };
    const COSTS = [
        ['build_forward_warm', 'Warm build, forward, s', threeDigits],
        ['build_train_warm', 'Warm build, train, s', threeDigits],
        ['build_forward_cold', 'Cold build, forward, s', threeDigits],
        ['build_train_cold', 'Cold build, train, s', threeDigits],
        ['memory', 'Memory, MB', megabytes],
        ['error_outputs', 'Error, outputs', threeDigits],
        ['error_gradients', 'Error, gradients', threeDigits]
    ];

    let index = null;
    let latestRequest = 0;

    const main = document.getElementById(NAME);
    const viewport = document.querySelector('meta[name=viewport]');
    const choices = {};
    for (const name of ['machine', 'commit', 'grid']) {
        choices[name] = document.getElementById('rn-' + name);
        choices[name].addEventListener('change', choose);
    }
    document.querySelector('#' + NAME + ' form').addEventListener('submit', (event) => event.preventDefault());

    $.asv.register_page(NAME, show);
    // asv hides its own pages when another page opens, but it doesn't know this tab.
    $(window).on('hashchange', leave);


    /* Showing, leaving, choosing */

    function show(params) {
        main.hidden = false;
        document.body.classList.add(NAME);
        viewport.content = 'width=device-width, initial-scale=1';
        (index ? Promise.resolve(index) : load('index.json')).then(function (loaded) {
            index = loaded;
            return render(params);
        }).catch(function (error) {
            element('rn-results').hidden = true;
            showStatus('This page can’t read its data (' + error.message + '). Reload the page. ' +
                'If that doesn’t help, run make publish again.');
        });
    }

    function leave() {
        if ($.asv.parse_hash_string(window.location.hash).location[0] !== NAME) {
            main.hidden = true;
            document.body.classList.remove(NAME);
            viewport.content = 'width=980';  // asv's own pages need a wide window
        }
    }

    /* Go to the address of the choice. The address names a grid only after a visitor has chosen one;
       until then, the page picks the grid that fits the figures. */
    function choose(event) {
        const params = { machine: [choices.machine.value], commit: [choices.commit.value] };
        if (event.target === choices.grid || $.asv.parse_hash_string(window.location.hash).params.grid) {
            params.grid = [choices.grid.value];
        }
        window.location.hash = $.asv.format_hash_string({ location: ['/' + NAME], params: params });
    }

    function load(file) {
        return fetch(NAME + '/' + file + '?timestamp=' + $.asv.main_timestamp).then(function (response) {
            if (!response.ok) {
                throw new Error(file + ': ' + response.status);
            }
            return response.json();
        });
    }

    async function render(params) {
        const request = ++latestRequest;
        const machines = index.machines.filter((machine) => machine.commits.length);
        if (!machines.length) {
            showStatus('There are no results yet. Run make bench to time a first grid.');
            return;
        }
        const machine = requestedOrFirst(machines, params.machine, (option) => option.name);
        const commit = requestedOrFirst(machine.commits, params.commit, ([hash]) => hash);
        fillSelect(choices.machine, machines.map(({ name }) => [name, name]), machine.name);
        fillSelect(choices.commit,
            machine.commits.map(([hash, date]) => [hash, abbreviated(hash) + ', ' + day(date)]), commit[0]);

        const { series, ranking, software } = await load(index.machines.indexOf(machine) + '-' + commit[0] + '.json');
        if (request !== latestRequest) {
            return;  // the visitor has made another choice meanwhile
        }
        const grids = Object.keys(index.grids);
        const grid = requestedOrFirst(grids, params.grid || [smallestGridWithAll(grids, series)], (name) => name);
        fillSelect(choices.grid,
            grids.map((name) => [name, name + ' (' + index.grids[name].length + ' shapes)']), grid);
        draw(machine, implementationsFrom(series, machine), ranking, software, index.grids[grid]);
        element('rn-results').hidden = false;
        showStatus('Shown: ' + machine.name + ' at ' + abbreviated(commit[0]) + ', the ' + grid + ' grid.');
    }

    /* The option that the address asks for, or else the first one. */
    function requestedOrFirst(options, values, key) {
        return options.find((option) => values && key(option) === values[0]) || options[0];
    }

    /* The smallest grid that contains every shape with a figure. The grids are in order of size. */
    function smallestGridWithAll(grids, series) {
        const figures = series.flatMap((item) => Object.values(item.figures).flat());
        const shapes = figures.map(([position]) => String(index.shapes[position]));
        return grids.find(function (grid) {
            const shapesOfGrid = new Set(index.grids[grid].map(String));
            return shapes.every((shape) => shapesOfGrid.has(shape));
        });
    }

    function fillSelect(select, options, chosen) {
        select.replaceChildren(...options.map(function ([value, text]) {
            const option = make('option', { value }, text);
            option.selected = value === chosen;
            return option;
        }));
    }

    function draw(machine, implementations, ranking, software, grid) {
        const shown = implementations.filter(({ figures }) => Object.keys(figures).length);
        const absent = implementations.filter(({ figures }) => !Object.keys(figures).length);
        drawFacts(machine, shown);
        element('rn-unavailable').replaceChildren(
            ...reasonLines(shown, absent, grid).map((line) => make('li', {}, line)));
        // The published tables use this order: depth, seq, batch, hidden.
        const shapes = grid.slice().sort((a, b) => a[3] - b[3] || a[1] - b[1] || a[0] - b[0] || a[2] - b[2]);
        drawSpeedup(shown, shapes);
        drawRanking(ranking, shapes);
        drawTimes(shown, shapes);
        drawFloor(shown, shapes, machine);
        drawGrowth(shown, shapes);
        drawPublished(shown, shapes);
        drawCosts(shown, shapes);
        drawSoftware(software);
    }

    /* One line for each reason why implementations have no figure at all, or why this machine can't run a shape. */
    function reasonLines(shown, absent, grid) {
        const reasonOf = function (implementation) {
            const reasons = new Set(implementation.reasons.values());
            return reasons.size === 1 && Array.from(reasons)[0] ||
                'not part of the run, or this machine lacks a requirement (rnnbench variants lists what is missing)';
        };
        const absentLines = Array.from(new Set(absent.map(reasonOf)), (reason) => 'Not shown: ' +
            absent.filter((implementation) => reasonOf(implementation) === reason)
                .map(({ label }) => label).join(', ') + '. Reason: ' + reason + '.');
        const shapeReasons = shown.flatMap((implementation) => grid
            .filter((shape) => !CALLS.some((quantity) => figureOf(implementation, quantity, shape)))
            .map((shape) => implementation.reasons.get(String(shape)))).filter(Boolean);
        return [...absentLines, ...Array.from(new Set(shapeReasons), (reason) => 'n/a: ' + reason + '.')];
    }

    /* The implementations, the baseline first. Each has a unique label, its figures with their floors (by quantity
       and shape), and the reasons why the machine can't run a shape (by shape). */
    function implementationsFrom(series, machine) {
        const environmentCount = {};
        series.sort((a, b) => (b.variant === index.baseline) - (a.variant === index.baseline));
        series.forEach(({ variant }) => { environmentCount[variant] = (environmentCount[variant] || 0) + 1; });
        return series.map(function ({ variant, environment, figures: stored }) {
            const figures = {};
            for (const quantity of Object.keys(stored)) {
                figures[quantity] = new Map(stored[quantity].map(function (row) {
                    const [position, value, low, high, samples, marks = []] = row;
                    const floors = machine.floors[variant][quantity];
                    const [floor, bound] = floors && floors[position] || [null, null];
                    return [String(index.shapes[position]), { value, low, high, samples, marks, floor, bound }];
                }));
            }
            const label = environmentCount[variant] > 1 ? variant + ' (' + environment + ')' : variant;
            const reasons = new Map(
                machine.reasons[variant].map((reason, position) => [String(index.shapes[position]), reason]));
            return { variant, environment, label, figures, reasons };
        });
    }

    function figureOf(implementation, quantity, shape) {
        const figures = implementation && implementation.figures[quantity];
        return figures && figures.get(String(shape));
    }

    /* The figure, or null if the call failed or wasn't measured. */
    function measuredFigure(implementation, quantity, shape) {
        const figure = figureOf(implementation, quantity, shape);
        return figure && figure.value !== null ? figure : null;
    }

    /* The baseline in the same environment, or else in any other. */
    function baselineOf(implementation, all) {
        const candidates = all.filter(({ variant }) => variant === index.baseline);
        return candidates.find(({ environment }) => environment === implementation.environment) || candidates[0];
    }


    /* The sections */

    function drawFacts(machine, shown) {
        const facts = Object.entries(machine.facts).filter(([key]) => key !== 'machine');
        facts.push(['environment', Array.from(new Set(shown.map(({ environment }) => environment))).join(', ')]);
        element('rn-facts').replaceChildren(...facts.map(([key, value]) =>
            make('div', {}, make('dt', {}, key.replace(/_/g, ' ')), make('dd', {}, withUnit(key, value)))));
    }

    function withUnit(key, value) {
        const number = Number(value);
        if (key === 'ram' && number > 0) {
            return (number / 1e9).toFixed(0) + ' GB';
        }
        if (/_flops$/.test(key) && number > 0) {
            return (number / 1e12).toPrecision(3) + ' TFLOP/s';
        }
        if (key === 'memory_bandwidth' && number > 0) {
            return (number / 1e9).toFixed(0) + ' GB/s';
        }
        return value;
    }

    function drawSpeedup(shown, shapes) {
        const others = shown.filter(({ variant, figures }) =>
            variant !== index.baseline && CALLS.some((quantity) => figures[quantity]));
        const parts = [];
        for (const implementation of others) {
            const baseline = baselineOf(implementation, shown);
            const ratio = function (quantity, shape) {
                const baselineFigure = measuredFigure(baseline, quantity, shape);
                const figure = measuredFigure(implementation, quantity, shape);
                return baselineFigure && figure ? baselineFigure.value / figure.value : null;
            };
            if (!CALLS.some((quantity) => shapes.some((shape) => ratio(quantity, shape) !== null))) {
                continue;
            }
            const sentences = CALLS.map((quantity) => speedupSentence(implementation.label, quantity, shapes, ratio));
            const caption = implementation.label + ': speed-up over scan';
            const map = heatMap(caption, shapes, SPEEDUP_STEPS, function (quantity, shape) {
                const value = ratio(quantity, shape);
                return value === null ? { emptyCell: firstEmptyCell([implementation, baseline], quantity, shape) } :
                    { value, text: multiple(value), title: multiple(value) + ' as fast as scan' };
            });
            parts.push(make('div', {}, make('p', {}, ...sentences), map));
        }
        if (parts.length) {
            parts.push(legend(SPEEDUP_STEPS, (step) => step + '×', 'slower'));
        } else {
            parts.push(make('p', {}, 'There is nothing to compare: no shape has both a time for scan and a time for ' +
                'another implementation. Run make bench to time scan, and make bench-peers to time PyTorch, JAX and ' +
                'others.'));
        }
        element('rn-speedup').replaceChildren(...parts);
    }

    function speedupSentence(label, quantity, shapes, ratio) {
        const ratios = shapes.map((shape) => ratio(quantity, shape)).filter((value) => value !== null);
        if (!ratios.length) {
            return '';
        }
        const verb = quantity === 'train' ? 'trains' : 'runs forward';
        const range = Array.from(new Set([multiple(Math.min(...ratios)), multiple(Math.max(...ratios))])).join(' to ');
        return label + ' ' + verb + ' ' + range + ' as fast as scan (' + counted(ratios.length, 'shape') + '). ';
    }

    /* The texts come from Python, the same as in rnnbench report. A shape with one implementation has no row. */
    function drawRanking([caption, headings, lines], shapes) {
        const rows = [];
        for (const shape of shapes) {
            const linesOfShape = lines.filter((line) => String(line.slice(0, 3)) === String(sizeTexts(shape)));
            linesOfShape.forEach(([, , , call, ...texts], position) => rows.push([
                ...(position ? [] : shapeHeaders(shape, linesOfShape.length)),
                make('th', { scope: 'row' }, call),
                ...texts.map((text) => make('td', {}, text))
            ]));
        }
        element('rn-ranking').replaceChildren(...(rows.length ? [table(caption, headings, rows)] : []));
        element('rn-ranking').parentElement.hidden = !rows.length;
    }

    /* The texts come from Python, the same as in rnnbench report. They cover all shapes, whatever grid is chosen. */
    function drawSoftware([caption, headings, lines]) {
        const rows = lines.map(([implementation, ...texts]) => [
            make('th', { scope: 'row' }, implementation),
            ...texts.map((text) => make('td', {}, text))
        ]);
        element('rn-software').replaceChildren(...(rows.length ? [table(caption, headings, rows)] : []));
        element('rn-software').parentElement.hidden = !rows.length;
    }

    function drawTimes(shown, shapes) {
        const timed = shown.filter(({ figures }) => CALLS.some((quantity) => figures[quantity]));
        const rows = [];
        for (const shape of shapes) {
            timed.forEach((implementation, position) => rows.push([
                ...(position ? [] : shapeHeaders(shape, timed.length)),
                make('th', { scope: 'row' }, implementation.label),
                ...CALLS.map((quantity) => timeCell(figureOf(implementation, quantity, shape), shape[0],
                    implementation.reasons.get(String(shape))))
            ]));
        }
        element('rn-times').replaceChildren(table('Time per example, in µs',
            ['Depth', 'Batch × seq', 'Hidden', 'Implementation', 'Train, µs', 'Forward, µs'], rows));
    }

    function timeCell(figure, batch, reason) {
        if (!figure || figure.value === null) {
            return emptyCell(figure, reason);
        }
        const perExample = (value) => threeDigits(value / batch * 1e6);
        const quartiles = figure.low === null ? '' :
            ' (' + perExample(figure.low) + '–' + perExample(figure.high) + ')';
        return withMarks(figure, make('td', { class: 'number', title: counted(figure.samples, 'sample') },
            perExample(figure.value), make('span', { class: 'spread' }, quartiles)));
    }

    function drawFloor(shown, shapes, machine) {
        const parts = [];
        const countOfBound = { compute: 0, memory: 0 };
        for (const implementation of shown) {
            const share = function (quantity, shape) {
                const figure = measuredFigure(implementation, quantity, shape);
                return figure && figure.floor ? 100 * figure.floor / figure.value : null;
            };
            if (!CALLS.some((quantity) => shapes.some((shape) => share(quantity, shape) !== null))) {
                continue;
            }
            const caption = implementation.label + ': share of the floor';
            parts.push(heatMap(caption, shapes, FLOOR_STEPS, function (quantity, shape) {
                const value = share(quantity, shape);
                if (value === null) {
                    return { emptyCell: firstEmptyCell([implementation], quantity, shape) };
                }
                const { bound } = figureOf(implementation, quantity, shape);
                countOfBound[bound] += 1;
                return {
                    value,
                    text: percent(value) + (bound === 'memory' ? ' m' : ''),
                    title: percent(value) + ' of the floor; ' + BOUND_NAMES[bound] + ' sets the floor'
                };
            }));
        }
        if (parts.length) {
            parts.push(make('p', {}, countOfBound.memory ?
                'm: memory bandwidth sets the floor. Where there is no m, arithmetic sets it.' :
                'Arithmetic sets the floor in every shape.'));
            parts.push(legend(FLOOR_STEPS, (step) => step + '%', null));
        } else {
            parts.push(make('p', {}, 'There are no percentages, because this machine’s description doesn’t give its ' +
                'peak rates. Add float32_flops (and tf32_flops), in operations per second, and memory_bandwidth, in ' +
                'bytes per second, to results/' + machine.name + '/machine.json.'));
        }
        element('rn-floor').replaceChildren(...parts);
    }

    function drawGrowth(shown, shapes) {
        const plots = SIZES.map((_, axis) => growthAlong(axis, shown, shapes));
        element('rn-growth').replaceChildren(...(plots.some(Boolean) ? plots.map(growthFigure).filter(Boolean) :
            [make('p', {}, 'Too few shapes were timed. A plot needs two shapes that differ in one size only.')]));
        const labels = Array.from(new Set(plots.flatMap((plot) => plot ? plot.lines.map(({ label }) => label) : [])));
        const rows = labels.map((label) => [make('th', { scope: 'row' }, label), ...plots.map(function (plot) {
            const line = plot && plot.lines.find((candidate) => candidate.label === label);
            return line ? numberCell(line.slope) :
                emptyCell(null, 'fewer than two of the shapes that are plotted above have a figure');
        })]);
        element('rn-slopes').replaceChildren(
            ...(rows.length ? [table('Slopes of all lines', ['Slope of the line', ...SIZES], rows)] : []));
    }

    /* The lines of the plot along one size, or null if no two timed shapes differ in that size alone. Shapes that
       are equal in the other sizes form a group. The group with the most figures is plotted, and the group with the
       largest shapes wins a tie. */
    function growthAlong(axis, shown, shapes) {
        const groups = new Map();
        for (const shape of shapes) {
            const fixedSizes = String(shape.filter((_, position) => position !== axis));
            groups.set(fixedSizes, [...(groups.get(fixedSizes) || []), shape]);
        }
        let best = { count: 1 };
        for (const group of groups.values()) {
            const lines = shown.flatMap((implementation, position) => CALLS.map((quantity) => ({
                label: implementation.label + ', ' + quantity,
                // No two implementations share both the marker and the colour, and neighbours share neither.
                marker: (position + Math.floor(position / LINE_STYLES)) % LINE_STYLES,
                className: 'line-' + position % LINE_STYLES + ' ' + quantity,
                points: group.map((shape) => [shape[axis], measuredFigure(implementation, quantity, shape)])
                    .filter(([, figure]) => figure).map(([size, figure]) => [size, figure.value])
                    .sort((a, b) => a[0] - b[0])
            }))).filter((line) => line.points.length > 1);
            const count = lines.reduce((sum, line) => sum + line.points.length, 0);
            if (count >= best.count) {
                best = { count, lines, shape: group[0] };
            }
        }
        return best.lines ? {
            lines: best.lines.map((line) => ({ ...line, slope: twoDecimals(slope(line.points)) })),
            shape: best.shape
        } : null;
    }

    function growthFigure(growth, axis) {
        if (!growth) {
            return null;
        }
        const title = 'Time against ' + SIZES[axis];
        const fixedSizes = SIZES.map((size, position) => size + ' ' + growth.shape[position])
            .filter((_, position) => position !== axis);
        return make('figure', { class: 'growth' },
            make('figcaption', {}, make('strong', {}, title), ' at ' + fixedSizes.join(', ')),
            plot(title, SIZES[axis], growth.lines),
            make('ul', {}, ...growth.lines.map((line) => make('li', { class: line.className },
                lineSample(line.marker), line.label + ': slope ' + line.slope))));
    }

    function drawPublished(shown, shapes) {
        element('rn-published').replaceChildren(...index.published.flatMap(function (source) {
            const secondsPublished = new Map(source.figures.map(
                ([shape, quantity, variant, seconds]) => [String([shape, quantity, variant]), seconds]));
            const counterparts = shown.filter(
                (implementation) => source.figures.some(([, , variant]) => variant === implementation.variant));
            const rows = [];
            for (const shape of shapes) {
                const published = counterparts.filter(
                    ({ variant }) => secondsPublished.has(String([shape, CALLS[0], variant])));
                published.forEach((implementation, position) => rows.push([
                    ...(position ? [] : shapeHeaders(shape, published.length)),
                    make('th', { scope: 'row' }, implementation.label),
                    ...CALLS.flatMap((quantity) => publishedCells(
                        secondsPublished.get(String([shape, quantity, implementation.variant])),
                        figureOf(implementation, quantity, shape), shape[0]))
                ]));
            }
            return [make('h3', {}, source.name),
                make('ul', {}, ...source.differences.map((difference) => make('li', {}, difference))),
                rows.length ? table(source.name + ' and this machine, in µs per example',
                    ['Depth', 'Batch × seq', 'Hidden', 'Implementation', 'Train, 2016', 'Train, here', 'Ratio',
                        'Forward, 2016', 'Forward, here', 'Ratio'], rows) :
                    make('p', {}, 'This source has no figures for the shapes and implementations shown here.')];
        }));
    }

    /* Three cells: the time of 2016, this machine's time, and their ratio. */
    function publishedCells(secondsPublished, figure, batch) {
        const published = numberCell(threeDigits(secondsPublished / batch * 1e6));
        if (!figure || figure.value === null) {
            return [published, emptyCell(figure), emptyCell(figure)];
        }
        return [published, withMarks(figure, numberCell(threeDigits(figure.value / batch * 1e6))),
            numberCell(multiple(secondsPublished / figure.value))];
    }

    function drawCosts(shown, shapes) {
        const columns = COSTS.filter(([quantity]) => shown.some(
            (implementation) => shapes.some((shape) => figureOf(implementation, quantity, shape))));
        const rows = [];
        for (const shape of shapes) {
            const measured = shown.filter(
                (implementation) => columns.some(([quantity]) => figureOf(implementation, quantity, shape)));
            measured.forEach((implementation, position) => rows.push([
                ...(position ? [] : shapeHeaders(shape, measured.length)),
                make('th', { scope: 'row' }, implementation.label),
                ...columns.map(function ([quantity, , format]) {
                    const figure = figureOf(implementation, quantity, shape);
                    return figure && figure.value !== null ? withMarks(figure, numberCell(format(figure.value))) :
                        emptyCell(figure);
                })
            ]));
        }
        element('rn-costs').replaceChildren(rows.length ?
            table('Build time, memory and error', ['Depth', 'Batch × seq', 'Hidden', 'Implementation',
                ...columns.map(([, heading]) => heading)], rows) :
            make('p', {}, 'At this commit, build time, memory and error weren’t measured for these shapes.'));
    }


    /* Pieces of tables */

    function table(caption, headers, rows) {
        const headerRow = make('tr', {}, ...headers.map((header) => make('th', { scope: 'col' }, header)));
        const drawn = make('table', { class: 'figures' },
            make('caption', { class: 'sr-only' }, caption),
            make('thead', {}, headerRow),
            make('tbody', {}, ...rows.map(
                (row) => make('tr', row.length === headers.length ? { class: 'first' } : {}, ...row))));
        return make('div', {}, scrollable(caption, drawn), ...markNotes(rows));
    }

    /* The cell, with a * if the machine's state makes the figure doubtful. */
    function withMarks(figure, cell) {
        if (figure.marks.length) {
            cell.dataset.marks = figure.marks.join(' ');
            (cell.lastElementChild || cell).append('*');
        }
        return cell;
    }

    /* One paragraph for each mark in these rows: it says how many figures are doubtful, and why. */
    function markNotes(rows) {
        const marks = rows.flat().flatMap((cell) => (cell.dataset.marks || '').split(' '));
        return Object.keys(index.marks).filter((mark) => marks.includes(mark)).map(function (mark) {
            const count = marks.filter((other) => other === mark).length;
            return make('p', {}, '* ' + mark + ' (' + counted(count, 'figure') + '): ' + index.marks[mark] + '.');
        });
    }

    function scrollable(label, content) {
        return make('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': label }, content);
    }

    function shapeHeaders(shape, rowCount) {
        return sizeTexts(shape).map((text) => make('th', { scope: 'rowgroup', rowspan: rowCount }, text));
    }

    function sizeTexts([batch, seq, hidden, depth]) {
        return [depth, batch + ' × ' + seq, hidden];
    }

    /* A table of the grid: one row for each depth and batch × seq, one column for each call and hidden size. */
    function heatMap(caption, shapes, steps, content) {
        const hiddens = Array.from(new Set(shapes.map((shape) => shape[2]))).sort((a, b) => a - b);
        const shapeOfRow = new Map(shapes.map((shape) => [String([shape[3], shape[0], shape[1]]), shape]));
        const rows = Array.from(shapeOfRow.values()).map(function ([batch, seq, , depth]) {
            const cells = CALLS.flatMap((quantity) => hiddens.map(function (hidden) {
                const shape = [batch, seq, hidden, depth];
                return shapes.some((other) => String(other) === String(shape)) ?
                    heatCell(content(quantity, shape), steps) : make('td', {});
            }));
            return make('tr', {}, make('th', { scope: 'row' }, String(depth)),
                make('th', { scope: 'row' }, batch + ' × ' + seq), ...cells);
        });
        return scrollable(caption, make('table', { class: 'heat' },
            make('caption', {}, caption),
            make('thead', {},
                make('tr', {}, make('th', { scope: 'col', rowspan: 2 }, 'Depth'),
                    make('th', { scope: 'col', rowspan: 2 }, 'Batch × seq'),
                    ...CALLS.map((quantity) => make('th', { scope: 'colgroup', colspan: hiddens.length },
                        (quantity === 'train' ? 'Train' : 'Forward') + ', hidden'))),
                make('tr', {}, ...CALLS.flatMap(
                    () => hiddens.map((hidden) => make('th', { scope: 'col' }, hidden))))),
            make('tbody', {}, ...rows)));
    }

    function heatCell(content, steps) {
        if (content.emptyCell) {
            return content.emptyCell;
        }
        return make('td', { class: 'number ' + heatClass(content.value, steps), title: content.title }, content.text);
    }

    function heatClass(value, steps) {
        return 'heat-' + (steps.filter((step) => value >= step).length - 1);
    }

    /* The colours and the value at which each begins. `below` names the values under the first step. */
    function legend(steps, text, below) {
        const entries = steps.map((step, position) => [position, 'from ' + text(step)]);
        return make('p', { class: 'key' }, ...(below ? [[-1, below], ...entries] : entries).map(
            ([position, label]) => make('span', { class: 'heat-' + position }, label)));
    }

    /* A cell without a figure: "failed" after an error, or else "n/a". */
    function emptyCell(figure, reason) {
        return figure ? make('td', { class: 'failed', title: index.failed }, 'failed') :
            make('td', { class: 'absent', title: reason || 'not measured' }, 'n/a');
    }

    /* The cell of a figure that needs several implementations, where one has no figure. Its title names the first
       implementation that failed, or else the first that is n/a. */
    function firstEmptyCell(implementations, quantity, shape) {
        const missing = implementations.filter((implementation) => !measuredFigure(implementation, quantity, shape));
        const failed = missing.find((implementation) => figureOf(implementation, quantity, shape));
        const implementation = failed || missing[0];
        const cell = emptyCell(figureOf(implementation, quantity, shape),
            implementation && implementation.reasons.get(String(shape)));
        cell.title = (implementation ? implementation.label : index.baseline) + ': ' + cell.title;
        return cell;
    }

    function numberCell(text) {
        return make('td', { class: 'number' }, text);
    }


    /* Plots */

    function plot(title, axis, lines) {
        const width = 320, height = 210, left = 52, right = 12, top = 10, bottom = 34;
        const xs = Array.from(new Set(lines.flatMap((line) => line.points.map((point) => point[0]))))
            .sort((a, b) => a - b);
        const ys = lines.flatMap((line) => line.points.map((point) => point[1]));
        const ticks = ticksBetween(Math.min(...ys), Math.max(...ys));
        const lowest = Math.min(ticks[0], ...ys), highest = Math.max(ticks[ticks.length - 1], ...ys);
        // If all values are equal, they are drawn in the middle.
        const scale = (value, low, high, from, to) =>
            from + (to - from) * (high > low ? Math.log(value / low) / Math.log(high / low) : 0.5);
        const x = (value) => scale(value, xs[0], xs[xs.length - 1], left + 8, width - right - 8);
        const y = (value) => scale(value, lowest, highest, height - bottom, top);

        const description = title + ': ' + lines.map((line) => line.label + ': ' +
            line.points.map((point) => milliseconds(point[1]) + ' at ' + point[0]).join(', ') +
            ', slope ' + line.slope).join('; ');
        const drawing = svg('svg', { viewBox: '0 0 ' + width + ' ' + height, role: 'img', 'aria-label': description });
        for (const tick of ticks) {
            drawing.append(svg('line', { class: 'grid', x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
                svg('text', { x: left - 5, y: y(tick) + 4, 'text-anchor': 'end' }, milliseconds(tick)));
        }
        for (const tick of xs) {
            drawing.append(svg('line', { class: 'grid', x1: x(tick), x2: x(tick), y1: top, y2: height - bottom }),
                svg('text', { x: x(tick), y: height - bottom + 15, 'text-anchor': 'middle' }, tick));
        }
        drawing.append(svg('text', { x: (left + width - right) / 2, y: height - 3, 'text-anchor': 'middle' }, axis));
        for (const line of lines) {
            const group = svg('g', { class: line.className });
            const corners = line.points.map((point) => x(point[0]) + ',' + y(point[1])).join(' ');
            group.append(svg('polyline', { points: corners }));
            line.points.forEach((point) => group.append(drawMarker(line.marker, x(point[0]), y(point[1]))));
            drawing.append(group);
        }
        return drawing;
    }

    /* Lines differ in their markers too, because some readers can't tell the colours apart. */
    function drawMarker(number, x, y) {
        switch (number) {
        case 0: return svg('circle', { cx: x, cy: y, r: 4 });
        case 1: return svg('rect', { x: x - 4, y: y - 4, width: 8, height: 8 });
        case 2: return svg('path', { d: `M${x},${y - 5}l5,9h-10z` });
        case 3: return svg('path', { d: `M${x},${y - 6}l6,6l-6,6l-6,-6z` });
        case 4: return svg('path', { d: `M${x},${y + 5}l5,-9h-10z` });
        default: return svg('path', { d: `M${x - 6},${y - 2}h4v-4h4v4h4v4h-4v4h-4v-4h-4z` });
        }
    }

    function lineSample(marker) {
        const drawing = svg('svg', { viewBox: '0 0 28 12', class: 'mark', 'aria-hidden': 'true' });
        drawing.append(svg('polyline', { points: '0,6 28,6' }), drawMarker(marker, 14, 6));
        return drawing;
    }

    /* Round numbers that enclose a range: 1, 2 and 5 times each power of ten. A wide range has the powers alone. */
    function ticksBetween(low, high) {
        const steps = high / low > 200 ? [1] : [1, 2, 5];
        const all = [];
        for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
            steps.forEach((step) => all.push(Number(step + 'e' + power)));
        }
        const first = Math.max(0, all.filter((tick) => tick <= low).length - 1);
        const last = all.findIndex((tick) => tick >= high);
        return all.slice(first, last + 1);
    }

    /* The exponent of the best-fitting power law: a least-squares line through the logarithms. */
    function slope(points) {
        const logs = points.map((point) => point.map(Math.log));
        const mean = (position) => logs.reduce((sum, log) => sum + log[position], 0) / logs.length;
        const [x, y] = [mean(0), mean(1)];
        return logs.reduce((sum, log) => sum + (log[0] - x) * (log[1] - y), 0) /
            logs.reduce((sum, log) => sum + (log[0] - x) ** 2, 0);
    }


    /* Numbers as text */

    /* Three significant digits, or two and an exponent if the number is very small or large. Halves round to the even
       digit, as in the README. */
    function threeDigits(value) {
        if (value === 0 || value < 1e-3 || value >= 1e7) {
            return value === 0 ? '0' : value.toExponential(1);
        }
        const digits = Math.max(0, 2 - Math.floor(Math.log10(value)));
        return value.toLocaleString('en', {
            useGrouping: false, minimumFractionDigits: digits, maximumFractionDigits: digits, roundingMode: 'halfEven'
        });
    }

    /* Two decimals below 1, one below 10, none above. */
    function ratioText(value) {
        return value.toFixed(value < 1 ? 2 : value < 10 ? 1 : 0);
    }

    /* Two decimals. Adding 0 turns -0 into 0, so that no slope reads -0.00. */
    function twoDecimals(value) {
        return (Number(value.toFixed(2)) + 0).toFixed(2);
    }

    function multiple(value) {
        return ratioText(value) + '×';
    }

    function percent(value) {
        return ratioText(value) + '%';
    }

    function megabytes(value) {
        return threeDigits(value / 1e6);
    }

    function milliseconds(value) {
        return Number((value * 1e3).toPrecision(3)) + ' ms';
    }

    function counted(count, noun) {
        return count + ' ' + noun + (count === 1 ? '' : 's');
    }

    function abbreviated(commit) {
        return commit.slice(0, $.asv.main_json.hash_length);
    }

    function day(milliseconds) {
        return new Date(milliseconds).toISOString().slice(0, 10);
    }


    /* Elements */

    function element(id) {
        return document.getElementById(id);
    }

    function showStatus(text) {
        element('rn-status').textContent = text;
    }

    function make(tag, attributes, ...children) {
        return assemble(document.createElement(tag), attributes, children);
    }

    function svg(tag, attributes, ...children) {
        return assemble(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
    }

    function assemble(node, attributes, children) {
        for (const name of Object.keys(attributes)) {
            node.setAttribute(name, attributes[name]);
        }
        node.append(...children);
        return node;
    }
});
