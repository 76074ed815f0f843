'use strict';

/* The tab "Recurrent networks". It loads what it shows: an index, and a file for the chosen machine
   and commit. What comes from results is only ever set as text. */
$(document).ready(function () {
    const NAME = 'recurrent-networks';
    const SIZES = ['batch', 'seq', 'hidden', 'depth'];
    const TIMES = ['train', 'forward'];
    const LOOKS = 6;  // colours of lines, and as many markers
    // Where a heat map's colours change, from the lightest to the darkest.
    const SPEEDUP_STEPS = [1, 1.5, 2, 3, 5, 8];
    const FLOOR_STEPS = [0, 5, 10, 20, 40, 70];
    const COSTS = [
        ['build_forward_warm', 'Warm build, forward, s', short],
        ['build_train_warm', 'Warm build, train, s', short],
        ['build_forward_cold', 'Cold build, forward, s', short],
        ['build_train_cold', 'Cold build, train, s', short],
        ['memory', 'Memory, MB', megabytes],
        ['error_outputs', 'Error, outputs', short],
        ['error_gradients', 'Error, gradients', short]
    ];

    let index = null;
    let request = 0;

    const main = document.getElementById(NAME);
    const viewport = document.querySelector('meta[name=viewport]');
    const choices = {};
    for (const name of ['machine', 'commit', 'grid']) {
        choices[name] = document.getElementById('rn-' + name);
        choices[name].addEventListener('change', choose);
    }
    document.querySelector('#' + NAME + ' form').addEventListener('submit', (event) => event.preventDefault());

    $.asv.register_page(NAME, show);
    // asv hides its own pages when another one is shown, and knows nothing of ours.
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
            say('This page’s data can’t be read (' + error.message + '). Run make publish again, or reload the page.');
        });
    }

    function leave() {
        if ($.asv.parse_hash_string(window.location.hash).location[0] !== NAME) {
            main.hidden = true;
            document.body.classList.remove(NAME);
            viewport.content = 'width=980';
        }
    }

    /* To the address of what was chosen; the grid fits what is shown until someone chooses another. */
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
        const current = ++request;
        const machines = index.machines.filter((machine) => machine.commits.length);
        if (!machines.length) {
            say('There are no results yet: make bench times a first grid.');
            return;
        }
        const machine = asked(machines, params.machine, (one) => one.name);
        const commit = asked(machine.commits, params.commit, (one) => one[0]);
        fill(choices.machine, machines.map((one) => [one.name, one.name]), machine.name);
        fill(choices.commit, machine.commits.map((one) => [one[0], abbreviated(one[0]) + ', ' + day(one[1])]), commit[0]);

        const { series, ranking, software } = await load(index.machines.indexOf(machine) + '-' + commit[0] + '.json');
        if (current !== request) {
            return;  // another choice was made meanwhile
        }
        const grids = Object.keys(index.grids);
        const grid = asked(grids, params.grid || [smallest(grids, series)], (one) => one);
        fill(choices.grid, grids.map((one) => [one, one + ' (' + index.grids[one].length + ' shapes)']), grid);
        draw(machine, named(series, machine), ranking, software, index.grids[grid]);
        element('rn-results').hidden = false;
        say('Shown: ' + machine.name + ' at ' + abbreviated(commit[0]) + ', the ' + grid + ' grid.');
    }

    /* What the address asks for, or else the first. */
    function asked(options, values, key) {
        return options.find((option) => values && key(option) === values[0]) || options[0];
    }

    /* The first of the grids, which grow, that has all shapes with figures. */
    function smallest(grids, series) {
        const figures = series.flatMap((one) => Object.values(one.figures).flat());
        const shapes = figures.map(([position]) => String(index.shapes[position]));
        return grids.find(function (grid) {
            const known = new Set(index.grids[grid].map(String));
            return shapes.every((shape) => known.has(shape));
        });
    }

    function fill(select, options, chosen) {
        select.replaceChildren(...options.map(function (option) {
            const made = make('option', { value: option[0] }, option[1]);
            made.selected = option[0] === chosen;
            return made;
        }));
    }

    function draw(machine, series, ranking, software, grid) {
        const shown = series.filter((one) => Object.keys(one.figures).length);
        const absent = series.filter((one) => !Object.keys(one.figures).length);
        drawFacts(machine, shown);
        element('rn-unavailable').replaceChildren(...reasons(shown, absent, grid).map((line) => make('li', {}, line)));
        // As the published tables are ordered: by depth, seq, batch, hidden.
        const shapes = grid.slice().sort((one, other) => one[3] - other[3] || one[1] - other[1] ||
            one[0] - other[0] || one[2] - other[2]);
        drawSpeedup(shown, shapes);
        drawRanking(ranking, shapes);
        drawTimes(shown, shapes);
        drawFloor(shown, shapes, machine);
        drawGrowth(shown, shapes);
        drawPublished(shown, shapes);
        drawCosts(shown, shapes);
        drawSoftware(software);
    }

    /* Why there is no figure, a sentence a reason: of implementations that have none, and of shapes that can't run here. */
    function reasons(shown, absent, grid) {
        const why = function (one) {
            const known = new Set(one.reasons.values());
            return known.size === 1 && Array.from(known)[0] ||
                'it wasn’t asked for, or lacks here what rnnbench variants names';
        };
        const implementations = Array.from(new Set(absent.map(why)), (reason) => 'n/a in every shape, and left out below: ' +
            absent.filter((one) => why(one) === reason).map((one) => one.label).join(', ') + ' (' + reason + ').');
        const shapes = shown.flatMap((one) => grid.filter((shape) => !TIMES.some((quantity) => figure(one, quantity, shape)))
            .map((shape) => one.reasons.get(String(shape)))).filter(Boolean);
        return [...implementations, ...Array.from(new Set(shapes), (reason) => 'n/a: ' + reason + '.')];
    }

    /* Each series with a name of its own, its figures and their floors by quantity and shape, and why it can't run
       a shape, by shape; the baseline's are first. */
    function named(series, machine) {
        const count = {};
        series.sort((one, other) => (other.variant === index.baseline) - (one.variant === index.baseline));
        series.forEach(function (one) { count[one.variant] = (count[one.variant] || 0) + 1; });
        return series.map(function (one) {
            const figures = {};
            for (const quantity of Object.keys(one.figures)) {
                figures[quantity] = new Map(one.figures[quantity].map(function (row) {
                    const [position, value, low, high, samples, marks = []] = row;
                    const floors = machine.floors[one.variant][quantity];
                    const [floor, bound] = floors && floors[position] || [null, null];
                    return [String(index.shapes[position]), { value, low, high, samples, marks, floor, bound }];
                }));
            }
            const label = count[one.variant] > 1 ? one.variant + ' (' + one.environment + ')' : one.variant;
            const reasons = new Map(machine.reasons[one.variant].map((reason, position) => [String(index.shapes[position]), reason]));
            return { variant: one.variant, environment: one.environment, label, figures, reasons };
        });
    }

    function figure(series, quantity, shape) {
        const figures = series && series.figures[quantity];
        return figures && figures.get(String(shape));
    }

    function measured(series, quantity, shape) {
        const found = figure(series, quantity, shape);
        return found && found.value !== null ? found : null;
    }

    function baseline(series, all) {
        const candidates = all.filter((one) => one.variant === index.baseline);
        return candidates.find((one) => one.environment === series.environment) || candidates[0];
    }


    /* The sections */

    function drawFacts(machine, shown) {
        const facts = Object.keys(machine.facts).filter((key) => key !== 'machine').map((key) => [key, machine.facts[key]]);
        facts.push(['environment', Array.from(new Set(shown.map((one) => one.environment))).join(', ')]);
        element('rn-facts').replaceChildren(...facts.map(
            (fact) => make('div', {}, make('dt', {}, fact[0].replace(/_/g, ' ')), make('dd', {}, readable(fact[0], fact[1])))
        ));
    }

    function readable(key, value) {
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
        const others = shown.filter((one) => one.variant !== index.baseline && TIMES.some((quantity) => one.figures[quantity]));
        const parts = [];
        for (const one of others) {
            const scan = baseline(one, shown);
            const ratio = function (quantity, shape) {
                const slow = measured(scan, quantity, shape);
                const fast = measured(one, quantity, shape);
                return slow && fast ? slow.value / fast.value : null;
            };
            if (!TIMES.some((quantity) => shapes.some((shape) => ratio(quantity, shape) !== null))) {
                continue;
            }
            const words = TIMES.map((quantity) => sentence(one.label, quantity, shapes, ratio));
            const map = heatMap(one.label + ' against scan', shapes, SPEEDUP_STEPS, function (quantity, shape) {
                const value = ratio(quantity, shape);
                return value === null ? { state: gap([one, scan], quantity, shape) } :
                    { value, text: times(value), words: times(value) + ' as fast' };
            });
            parts.push(make('div', {}, make('p', {}, ...words), map));
        }
        if (parts.length) {
            parts.push(legend(SPEEDUP_STEPS, (step) => step + '×', 'slower'));
        } else {
            parts.push(make('p', {}, 'Nothing was timed here that could be compared with scan.'));
        }
        element('rn-speedup').replaceChildren(...parts);
    }

    function sentence(label, quantity, shapes, ratio) {
        const ratios = shapes.map((shape) => ratio(quantity, shape)).filter((value) => value !== null);
        if (!ratios.length) {
            return '';
        }
        const verb = quantity === 'train' ? 'trains' : 'runs forward';
        const range = Array.from(new Set([times(Math.min(...ratios)), times(Math.max(...ratios))])).join(' to ');
        return label + ' ' + verb + ' ' + range + ' as fast, in ' + counted(ratios.length, 'shape') + '. ';
    }

    /* How the variants stand, in the words of rnnbench report, which leaves out the shapes where one was timed. */
    function drawRanking([caption, headings, lines], shapes) {
        const rows = [];
        for (const shape of shapes) {
            const known = lines.filter((line) => String(line.slice(0, 3)) === String(sizes(shape)));
            known.forEach(([, , , call, ...texts], position) => rows.push([
                ...(position ? [] : shapeHeaders(shape, known.length)),
                make('th', { scope: 'row' }, call),
                ...texts.map((text) => make('td', {}, text))
            ]));
        }
        element('rn-ranking').replaceChildren(...(rows.length ? [table(caption, headings, rows)] : []));
        element('rn-ranking').parentElement.hidden = !rows.length;
    }

    /* What computed, of all shapes, in the words of rnnbench report. */
    function drawSoftware([caption, headings, lines]) {
        const rows = lines.map(([implementation, ...texts]) => [
            make('th', { scope: 'row' }, implementation),
            ...texts.map((text) => make('td', {}, text))
        ]);
        element('rn-software').replaceChildren(...(rows.length ? [table(caption, headings, rows)] : []));
        element('rn-software').parentElement.hidden = !rows.length;
    }

    function drawTimes(shown, shapes) {
        const timed = shown.filter((one) => TIMES.some((quantity) => one.figures[quantity]));
        const rows = [];
        for (const shape of shapes) {
            timed.forEach((one, position) => rows.push([
                ...(position ? [] : shapeHeaders(shape, timed.length)),
                make('th', { scope: 'row' }, one.label),
                ...TIMES.map((quantity) => timeOf(figure(one, quantity, shape), shape[0], one.reasons.get(String(shape))))
            ]));
        }
        element('rn-times').replaceChildren(table('Time per example, in µs',
            ['Depth', 'Batch × seq', 'Hidden', 'Implementation', 'Train, µs', 'Forward, µs'], rows));
    }

    function timeOf(found, batch, reason) {
        if (!found || found.value === null) {
            return absence(found, reason);
        }
        const perExample = (value) => short(value / batch * 1e6);
        const spread = found.low === null ? '' : ' (' + perExample(found.low) + '–' + perExample(found.high) + ')';
        return doubted(found, make('td', { class: 'number', title: counted(found.samples, 'sample') },
            perExample(found.value), make('span', { class: 'spread' }, spread)));
    }

    function drawFloor(shown, shapes, machine) {
        const parts = [];
        const bounds = { compute: 0, memory: 0 };
        for (const one of shown) {
            const share = function (quantity, shape) {
                const found = measured(one, quantity, shape);
                return found && found.floor ? 100 * found.floor / found.value : null;
            };
            if (!TIMES.some((quantity) => shapes.some((shape) => share(quantity, shape) !== null))) {
                continue;
            }
            parts.push(heatMap(one.label + ', share of the floor', shapes, FLOOR_STEPS, function (quantity, shape) {
                const value = share(quantity, shape);
                if (value === null) {
                    return { state: gap([one], quantity, shape) };
                }
                const found = figure(one, quantity, shape);
                bounds[found.bound] += 1;
                const mark = found.bound === 'memory' ? ' m' : '';
                return { value, text: percent(value) + mark, words: percent(value) + ' of the floor, which ' + found.bound + ' sets' };
            }));
        }
        if (parts.length) {
            parts.push(make('p', {}, bounds.memory ? 'm: the memory’s bandwidth sets the floor; elsewhere arithmetic does.' :
                'Arithmetic sets the floor in every shape.'));
            parts.push(legend(FLOOR_STEPS, (step) => step + '%', null));
        } else {
            parts.push(make('p', {}, 'No percentages: the description of this machine doesn’t name its peak rates. Add ' +
                'float32_flops (and tf32_flops), in operations a second, and memory_bandwidth, in bytes a second, to ' +
                'results/' + machine.name + '/machine.json.'));
        }
        element('rn-floor').replaceChildren(...parts);
    }

    function drawGrowth(shown, shapes) {
        const found = SIZES.map((_, axis) => growth(shown, shapes, axis));
        element('rn-growth').replaceChildren(...(found.some(Boolean) ? found.map(growthFigure).filter(Boolean) :
            [make('p', {}, 'Too few shapes have figures: growth takes two that differ in one size.')]));
        const labels = Array.from(new Set(found.flatMap((one) => one ? one.lines.map((line) => line.label) : [])));
        const rows = labels.map((label) => [make('th', { scope: 'row' }, label), ...found.map(function (one) {
            const line = one && one.lines.find((line) => line.label === label);
            return line ? number(line.slope) : absence(null, 'too few of the shapes drawn above have its figures');
        })]);
        element('rn-slopes').replaceChildren(...(rows.length ? [table('All slopes', ['Slope of', ...SIZES], rows)] : []));
    }

    /* The times along an axis. Of the shapes that are equal in the other sizes, those with the most figures
       are drawn; of several such, the largest. */
    function growth(shown, shapes, axis) {
        const groups = new Map();
        for (const shape of shapes) {
            const fixed = String(shape.filter((_, position) => position !== axis));
            groups.set(fixed, [...(groups.get(fixed) || []), shape]);
        }
        let best = { count: 1 };
        for (const group of groups.values()) {
            const lines = shown.flatMap((one, position) => TIMES.map((quantity) => ({
                label: one.label + ', ' + quantity,
                // No two series share both, and neighbours share neither.
                shape: (position + Math.floor(position / LOOKS)) % LOOKS,
                kind: 'line-' + position % LOOKS + ' ' + quantity,
                points: group.map((shape) => [shape[axis], measured(one, quantity, shape)])
                    .filter((point) => point[1]).map((point) => [point[0], point[1].value])
                    .sort((a, b) => a[0] - b[0])
            }))).filter((line) => line.points.length > 1);
            const count = lines.reduce((sum, line) => sum + line.points.length, 0);
            if (count >= best.count) {
                best = { count, lines, shape: group[0] };
            }
        }
        return best.lines ? { lines: best.lines.map((line) => ({ ...line, slope: power(slope(line.points)) })), shape: best.shape } : null;
    }

    function growthFigure(found, axis) {
        if (!found) {
            return null;
        }
        const title = 'Time against ' + SIZES[axis];
        const fixed = SIZES.map((size, position) => size + ' ' + found.shape[position]).filter((_, position) => position !== axis);
        return make('figure', { class: 'growth' },
            make('figcaption', {}, make('strong', {}, title), ' at ' + fixed.join(', ')),
            plot(title, SIZES[axis], found.lines),
            make('ul', {}, ...found.lines.map((line) => make('li', { class: line.kind },
                key(line.shape), line.label + ': slope ' + line.slope))));
    }

    function drawPublished(shown, shapes) {
        element('rn-published').replaceChildren(...index.published.flatMap(function (source) {
            const then = new Map(source.figures.map(([shape, quantity, variant, value]) => [String([shape, quantity, variant]), value]));
            const variants = shown.filter((one) => source.figures.some((figure) => figure[2] === one.variant));
            const rows = [];
            for (const shape of shapes) {
                const known = variants.filter((one) => then.has(String([shape, TIMES[0], one.variant])));
                known.forEach((one, position) => rows.push([
                    ...(position ? [] : shapeHeaders(shape, known.length)),
                    make('th', { scope: 'row' }, one.label),
                    ...TIMES.flatMap((quantity) => beside(then.get(String([shape, quantity, one.variant])), figure(one, quantity, shape), shape[0]))
                ]));
            }
            return [make('h3', {}, source.name),
                make('ul', {}, ...source.differences.map((difference) => make('li', {}, difference))),
                rows.length ? table(source.name + ' beside this machine, in µs per example',
                    ['Depth', 'Batch × seq', 'Hidden', 'Implementation', 'Train, 2016', 'Train, here', 'Ratio', 'Forward, 2016',
                        'Forward, here', 'Ratio'], rows) : make('p', {}, 'It has nothing of what is shown here.')];
        }));
    }

    function beside(then, found, batch) {
        const published = number(short(then / batch * 1e6));
        if (!found || found.value === null) {
            return [published, absence(found), absence(found)];
        }
        return [published, doubted(found, number(short(found.value / batch * 1e6))), number(times(then / found.value))];
    }

    function drawCosts(shown, shapes) {
        const columns = COSTS.filter((cost) => shown.some((one) => shapes.some((shape) => figure(one, cost[0], shape))));
        const rows = [];
        for (const shape of shapes) {
            const known = shown.filter((one) => columns.some((cost) => figure(one, cost[0], shape)));
            known.forEach((one, position) => rows.push([
                ...(position ? [] : shapeHeaders(shape, known.length)),
                make('th', { scope: 'row' }, one.label),
                ...columns.map(function (cost) {
                    const found = figure(one, cost[0], shape);
                    return found && found.value !== null ? doubted(found, number(cost[2](found.value))) : absence(found);
                })
            ]));
        }
        element('rn-costs').replaceChildren(rows.length ?
            table('Build time, memory and error', ['Depth', 'Batch × seq', 'Hidden', 'Implementation',
                ...columns.map((cost) => cost[1])], rows) :
            make('p', {}, 'None of them was measured here.'));
    }


    /* Pieces of tables */

    function table(caption, headers, rows) {
        const drawn = make('table', { class: 'figures' },
            make('caption', { class: 'sr-only' }, caption),
            make('thead', {}, make('tr', {}, ...headers.map((header) => make('th', { scope: 'col' }, header)))),
            make('tbody', {}, ...rows.map((row) => make('tr', row.length === headers.length ? { class: 'first' } : {}, ...row))));
        return make('div', {}, scrollable(caption, drawn), ...doubts(rows));
    }

    /* A figure's table cell, marked where the machine's state makes it doubtful. */
    function doubted(found, cell) {
        if (found.marks.length) {
            cell.dataset.marks = found.marks.join(' ');
            (cell.lastElementChild || cell).append('*');
        }
        return cell;
    }

    /* A sentence for each way in which the machine's state makes figures of these rows doubtful. */
    function doubts(rows) {
        const marks = rows.flat().flatMap((cell) => (cell.dataset.marks || '').split(' '));
        return Object.keys(index.marks).filter((mark) => marks.includes(mark)).map((mark) => make('p', {}, '*: ' +
            counted(marks.filter((one) => one === mark).length, 'figure') + ', ' + mark + ': ' + index.marks[mark] + '.'));
    }

    function scrollable(label, content) {
        return make('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': label }, content);
    }

    function shapeHeaders(shape, rows) {
        return sizes(shape).map((text) => make('th', { scope: 'rowgroup', rowspan: rows }, text));
    }

    function sizes([batch, seq, hidden, depth]) {
        return [depth, batch + ' × ' + seq, hidden];
    }

    /* A table over the grid: depth and batch × seq down, times and hidden across. */
    function heatMap(caption, shapes, steps, content) {
        const hiddens = Array.from(new Set(shapes.map((shape) => shape[2]))).sort((a, b) => a - b);
        const rows = new Map(shapes.map((shape) => [String([shape[3], shape[0], shape[1]]), shape]));
        const body = Array.from(rows.values()).map(function (shape) {
            const [batch, seq, , depth] = shape;
            const squares = TIMES.flatMap((quantity) => hiddens.map(function (hidden) {
                const here = [batch, seq, hidden, depth];
                return shapes.some((one) => String(one) === String(here)) ? square(content(quantity, here), steps) : make('td', {});
            }));
            return make('tr', {}, make('th', { scope: 'row' }, String(depth)), make('th', { scope: 'row' }, batch + ' × ' + seq), ...squares);
        });
        return scrollable(caption, make('table', { class: 'heat' },
            make('caption', {}, caption),
            make('thead', {},
                make('tr', {}, make('th', { scope: 'col', rowspan: 2 }, 'Depth'), make('th', { scope: 'col', rowspan: 2 }, 'Batch × seq'),
                    ...TIMES.map((quantity) => make('th', { scope: 'colgroup', colspan: hiddens.length },
                        (quantity === 'train' ? 'Train' : 'Forward') + ', hidden'))),
                make('tr', {}, ...TIMES.flatMap(() => hiddens.map((hidden) => make('th', { scope: 'col' }, hidden))))),
            make('tbody', {}, ...body)));
    }

    function square(content, steps) {
        if (content.state) {
            return content.state;
        }
        return make('td', { class: 'number ' + heat(content.value, steps), title: content.words }, content.text);
    }

    function heat(value, steps) {
        return 'heat-' + (steps.filter((step) => value >= step).length - 1);
    }

    function legend(steps, text, below) {
        const names = steps.map((step, position) => [position, 'from ' + text(step)]);
        return make('p', { class: 'key' }, ...(below ? [[-1, below], ...names] : names).map(
            (name) => make('span', { class: 'heat-' + name[0] }, name[1])));
    }

    /* What stands where there is no figure: failed, which is an error, or n/a, which isn't. */
    function absence(found, reason) {
        return found ? make('td', { class: 'failed', title: index.failed }, 'failed') :
            make('td', { class: 'absent', title: reason || 'it wasn’t measured' }, 'n/a');
    }

    /* For a figure made of several: the first that failed, or else that is n/a, and whose it is. */
    function gap(series, quantity, shape) {
        const missing = series.filter((one) => !measured(one, quantity, shape));
        const failed = missing.find((one) => figure(one, quantity, shape));
        const whose = failed || missing[0];
        const made = absence(figure(whose, quantity, shape), whose && whose.reasons.get(String(shape)));
        made.title = (whose ? whose.label : index.baseline) + ': ' + made.title;
        return made;
    }

    function number(text) {
        return make('td', { class: 'number' }, text);
    }


    /* Plots */

    function plot(title, axis, lines) {
        const width = 320, height = 210, left = 52, right = 12, top = 10, bottom = 34;
        const xs = Array.from(new Set(lines.flatMap((line) => line.points.map((point) => point[0])))).sort((a, b) => a - b);
        const ys = lines.flatMap((line) => line.points.map((point) => point[1]));
        const ticks = ticksBetween(Math.min(...ys), Math.max(...ys));
        const lowest = Math.min(ticks[0], ...ys), highest = Math.max(ticks[ticks.length - 1], ...ys);
        // Where all are equal they stand in the middle.
        const scale = (value, low, high, from, to) =>
            from + (to - from) * (high > low ? Math.log(value / low) / Math.log(high / low) : 0.5);
        const x = (value) => scale(value, xs[0], xs[xs.length - 1], left + 8, width - right - 8);
        const y = (value) => scale(value, lowest, highest, height - bottom, top);

        const words = title + ': ' + lines.map((line) => line.label + ' ' +
            line.points.map((point) => milliseconds(point[1]) + ' at ' + point[0]).join(', ') +
            ', slope ' + line.slope).join('; ');
        const drawing = svg('svg', { viewBox: '0 0 ' + width + ' ' + height, role: 'img', 'aria-label': words });
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
            const group = svg('g', { class: line.kind });
            group.append(svg('polyline', { points: line.points.map((point) => x(point[0]) + ',' + y(point[1])).join(' ') }));
            line.points.forEach((point) => group.append(marker(line.shape, x(point[0]), y(point[1]))));
            drawing.append(group);
        }
        return drawing;
    }

    /* A shape for each series, so that no one depends on colours. */
    function marker(shape, x, y) {
        switch (shape) {
        case 0: return svg('circle', { cx: x, cy: y, r: 4 });
        case 1: return svg('rect', { x: x - 4, y: y - 4, width: 8, height: 8 });
        case 2: return svg('path', { d: `M${x},${y - 5}l5,9h-10z` });
        case 3: return svg('path', { d: `M${x},${y - 6}l6,6l-6,6l-6,-6z` });
        case 4: return svg('path', { d: `M${x},${y + 5}l5,-9h-10z` });
        default: return svg('path', { d: `M${x - 6},${y - 2}h4v-4h4v4h4v4h-4v4h-4v-4h-4z` });
        }
    }

    function key(shape) {
        const drawing = svg('svg', { viewBox: '0 0 28 12', class: 'mark', 'aria-hidden': 'true' });
        drawing.append(svg('polyline', { points: '0,6 28,6' }), marker(shape, 14, 6));
        return drawing;
    }

    /* Round numbers, 1, 2 and 5 of each power of ten or its 1 alone, around a range. */
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

    /* The exponent of the power law that fits best: least squares of the logarithms. */
    function slope(points) {
        const logs = points.map((point) => point.map(Math.log));
        const mean = (position) => logs.reduce((sum, log) => sum + log[position], 0) / logs.length;
        const [x, y] = [mean(0), mean(1)];
        return logs.reduce((sum, log) => sum + (log[0] - x) * (log[1] - y), 0) /
            logs.reduce((sum, log) => sum + (log[0] - x) ** 2, 0);
    }


    /* Numbers as text */

    /* Three significant digits, in full where that is short; a half goes to the even digit, as in the README. */
    function short(value) {
        if (value === 0 || value < 1e-3 || value >= 1e7) {
            return value === 0 ? '0' : value.toExponential(1);
        }
        const digits = Math.max(0, 2 - Math.floor(Math.log10(value)));
        return value.toLocaleString('en', {
            useGrouping: false, minimumFractionDigits: digits, maximumFractionDigits: digits, roundingMode: 'halfEven'
        });
    }

    function quotient(value) {
        return value.toFixed(value < 1 ? 2 : value < 10 ? 1 : 0);
    }

    /* Two decimals; what rounds to zero has no sign. */
    function power(value) {
        return (Number(value.toFixed(2)) + 0).toFixed(2);
    }

    function times(value) {
        return quotient(value) + '×';
    }

    function percent(value) {
        return quotient(value) + '%';
    }

    function megabytes(value) {
        return short(value / 1e6);
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

    function say(text) {
        element('rn-status').textContent = text;
    }

    function make(tag, attributes, ...children) {
        return completed(document.createElement(tag), attributes, children);
    }

    function svg(tag, attributes, ...children) {
        return completed(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
    }

    function completed(made, attributes, children) {
        for (const name of Object.keys(attributes)) {
            made.setAttribute(name, attributes[name]);
        }
        made.append(...children);
        return made;
    }
});
