'use strict';

/* Pieces of HTML and SVG. Results may come from strangers, so their strings are set as text and never as HTML. */

function element(id) {
    return document.getElementById(id);
}

function make(tag, attributes, ...children) {
    return assemble(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
    return assemble(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

/* An attribute or a child that is null, undefined or false is left out. An attribute that is true is an empty one. */
function assemble(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
        if (isThere(value)) {
            node.setAttribute(name, value === true ? '' : value);
        }
    }
    node.append(...children.filter(isThere));
    return node;
}

function isThere(value) {
    return value !== null && value !== undefined && value !== false;
}

/* Fill an element, and hide it if there is nothing to fill it with. */
function fill(id, ...children) {
    const present = children.filter(isThere);
    element(id).replaceChildren(...present);
    element(id).hidden = !present.length;
}

/* Text in which the words between backticks are names of implementations. */
function withNames(text) {
    return text.split('`').map((part, position) => (position % 2 ? make('code', {}, part) : part));
}

function counted(count, noun) {
    return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/* The words in a list: "a, b and c". */
function listed(words) {
    return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words[words.length - 1]}`;
}

function unique(values) {
    return Array.from(new Set(values));
}
