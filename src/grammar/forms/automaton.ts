import { StructuredOutputsError } from '../../errors.ts';
import { type CodePoints, complement, type Letters, letterOf, lettersOf, without } from './ebnf.ts';
import type { Expression } from './expression.ts';

/** States of an automaton that is not deterministic; larger ones are written otherwise. */
const MAX_STATES = 200_000;

/** Counted repetitions above which each is no state of its own. */
const MAX_COUNT = 128;

/** An edge: one of these characters leads to a state. */
export interface Edge {
  readonly letters: Letters;
  readonly target: number;
}

/** A state of an automaton: a text may end in it, and its edges have no character of ASCII in common. */
export interface State {
  readonly isFinal: boolean;
  readonly edges: readonly Edge[];
}

/**
 * A deterministic automaton for the texts of an expression: its states, the first first. Beyond ASCII a character that is listed and
 * 'all others' may lead to different states, in both of which the text then is. Undefined for what needs rules or too many
 * states.
 */
export function automatonOf(expression: Expression): readonly State[] | undefined {
  if (!isRegular(expression)) return undefined;
  const nfa = new Nfa();
  const [start, end] = [nfa.add(), nfa.add()];
  if (!nfa.connect(expression, start, end)) return undefined;
  const states = deterministic(nfa, start, end);
  return states && merged(withoutDeadEnds(states));
}

/** Whether an expression can be an automaton, as far as its form tells. */
export function isRegular(expression: Expression): boolean {
  switch (expression.type) {
    case 'rule':
      return false;
    case 'repeat': {
      const { min, max, part } = expression;
      return Math.max(min, max === Number.POSITIVE_INFINITY ? 0 : max) <= MAX_COUNT && isRegular(part);
    }
    case 'sequence':
    case 'choice':
    case 'both':
    case 'except':
      return expression.parts.every(isRegular);
    default:
      return true;
  }
}

/** An automaton in which a character may lead to several states, and nothing may too. */
class Nfa {
  readonly empty: number[][] = [];
  readonly edges: Edge[][] = [];

  add(): number {
    this.empty.push([]);
    return this.edges.push([]) - 1;
  }

  /** Lets texts of an expression lead from one state to another. @returns false where that takes too many states. */
  connect(expression: Expression, from: number, to: number): boolean {
    if (this.edges.length > MAX_STATES) return false;
    switch (expression.type) {
      case 'text': {
        let at = from;
        for (const character of expression.text) {
          const point = character.codePointAt(0) ?? 0;
          const next = this.add();
          this.edges[at].push({ letters: letterOf(point), target: next });
          at = next;
        }
        this.empty[at].push(to);
        return true;
      }
      case 'class':
        this.edges[from].push({ letters: lettersOf(expression.ranges), target: to });
        return true;
      case 'choice':
        return expression.parts.every((part) => this.connect(part, from, to));
      case 'sequence':
        return this.#follow(expression.parts, from, to);
      case 'both':
      case 'except': {
        const [first, second] = expression.parts.map(automatonOf);
        if (!first || !second) return false;
        this.#embed(product(first, second, expression.type), from, to);
        return true;
      }
      case 'repeat':
        return this.#repeat(expression.part, expression.min, expression.max, from, to);
      default:
        return false;
    }
  }

  #embed(states: readonly State[], from: number, to: number): void {
    const numbers = states.map(() => this.add());
    this.empty[from].push(numbers[0]);
    for (const [i, { isFinal, edges }] of states.entries()) {
      if (isFinal) this.empty[numbers[i]].push(to);
      for (const { letters, target } of edges) this.edges[numbers[i]].push({ letters, target: numbers[target] });
    }
  }

  #follow(parts: readonly Expression[], from: number, to: number): boolean {
    let at = from;
    for (const part of parts) {
      const next = this.add();
      if (!this.connect(part, at, next)) return false;
      at = next;
    }
    this.empty[at].push(to);
    return true;
  }

  #repeat(part: Expression, min: number, max: number, from: number, to: number): boolean {
    // A state of its own: what leads back to it must not be able to leave otherwise.
    let at = this.add();
    this.empty[from].push(at);
    for (let count = 0; count < min || (count < max && max !== Number.POSITIVE_INFINITY); count++) {
      if (count >= min) this.empty[at].push(to);
      const next = this.add();
      if (!this.connect(part, at, next)) return false;
      at = next;
    }
    if (max === Number.POSITIVE_INFINITY) {
      const [loop, back] = [this.add(), this.add()];
      this.empty[at].push(loop);
      if (!this.connect(part, loop, back)) return false;
      this.empty[back].push(loop);
      at = loop;
    }
    this.empty[at].push(to);
    return true;
  }
}

/** All characters beyond ASCII, as a letter of the alphabet. */
const OTHERS = -1;

function deterministic(nfa: Nfa, start: number, end: number): State[] | undefined {
  const limit = Math.min(MAX_STATES, Math.max(2000, 4 * nfa.edges.length));
  const numbers = new Map<string, number>();
  const sets: (readonly number[])[] = [];
  const numberOf = (states: Iterable<number>): number => {
    const set = closure(nfa, states, end);
    const key = set.join();
    const known = numbers.get(key);
    if (known !== undefined) return known;
    numbers.set(key, sets.length);
    return sets.push(set) - 1;
  };
  numberOf([start]);
  const found: State[] = [];
  for (let i = 0; i < sets.length; i++) {
    if (sets.length > limit) return undefined;
    const targets = new Map<number, Letters>();
    for (const [letter, states] of steps(nfa, sets[i])) {
      const target = numberOf(states);
      const letters = targets.get(target) ?? { ascii: [], listed: [], isOpen: false };
      targets.set(target, withLetter(letters, letter));
    }
    found.push({
      isFinal: sets[i].includes(end),
      edges: Array.from(targets, ([target, letters]) => ({ letters, target })),
    });
  }
  return found;
}

/** All states that can be reached with no character, in their order. */
function closure(nfa: Nfa, states: Iterable<number>, end: number): readonly number[] {
  const found = new Set(states);
  for (const state of found) for (const next of nfa.empty[state]) found.add(next);
  return [...found].filter((state) => nfa.edges[state].length > 0 || state === end).sort((a, b) => a - b);
}

/** Ranges of letters with the states that they lead to. */
function steps(nfa: Nfa, set: readonly number[]): ReadonlyMap<number | CodePoints, ReadonlySet<number>> {
  const edges = set.flatMap((state) => nfa.edges[state]);
  const found = new Map<number | CodePoints, Set<number>>();
  const bounds = new Set<number>();
  for (const { letters, target } of edges) {
    for (const [first, last] of letters.ascii) bounds.add(first).add(last + 1);
    for (const letter of [...letters.listed, ...(letters.isOpen ? [OTHERS] : [])]) {
      const targets = found.get(letter) ?? new Set();
      found.set(letter, targets.add(target));
    }
  }
  const places = [...bounds].sort((a, b) => a - b);
  for (const [i, first] of places.slice(0, -1).entries()) {
    const has = ({ letters }: Edge) => letters.ascii.some(([low, high]) => low <= first && first <= high);
    const targets = new Set(edges.filter(has).map(({ target }) => target));
    if (targets.size > 0) found.set([first, places[i + 1] - 1], targets);
  }
  return found;
}

function withLetter({ ascii, listed, isOpen }: Letters, letter: number | CodePoints): Letters {
  if (letter === OTHERS) return { ascii, listed, isOpen: true };
  if (typeof letter === 'number') return { ascii, listed: [...listed, letter], isOpen };
  const last = ascii.at(-1);
  const isNext = last !== undefined && last[1] + 1 === letter[0];
  return { ascii: isNext ? [...ascii.slice(0, -1), [last[0], letter[1]]] : [...ascii, letter], listed, isOpen };
}

/** The second automaton has left its texts behind: whatever follows is none of them. */
const NOWHERE = -1;

/** Texts of both automata, or of the first alone. */
function product(first: readonly State[], second: readonly State[], type: 'both' | 'except'): State[] {
  const numbers = new Map<string, number>([['0,0', 0]]);
  const pairs: (readonly [number, number])[] = [[0, 0]];
  const numberOf = (a: number, b: number): number => {
    const known = numbers.get(`${a},${b}`);
    if (known !== undefined) return known;
    numbers.set(`${a},${b}`, pairs.length);
    return pairs.push([a, b]) - 1;
  };
  const found: State[] = [];
  for (const [a, b] of pairs) {
    const others = b === NOWHERE ? [] : second[b].edges;
    const edges: Edge[] = [];
    for (const { letters, target } of first[a].edges) {
      for (const other of others) {
        edges.push({ letters: common(letters, other.letters), target: numberOf(target, other.target) });
      }
      if (type === 'both') continue;
      const rest = others.reduce((left, other) => lettersWithout(left, other.letters), letters);
      edges.push({ letters: rest, target: numberOf(target, NOWHERE) });
    }
    const isIn = b !== NOWHERE && second[b].isFinal;
    found.push({ isFinal: first[a].isFinal && isIn === (type === 'both'), edges });
  }
  return found;
}

function common(a: Letters, b: Letters): Letters {
  const listed = [...a.listed.filter((point) => b.isOpen || b.listed.includes(point))];
  if (a.isOpen) listed.push(...b.listed.filter((point) => !listed.includes(point)));
  return { ascii: without(a.ascii, complement(b.ascii)), listed, isOpen: a.isOpen && b.isOpen };
}

function lettersWithout(a: Letters, b: Letters): Letters {
  if (b.listed.length > 0 && a.isOpen) {
    throw new StructuredOutputsError('A negative lookahead can not have single characters beyond ASCII.');
  }
  const listed = b.isOpen ? [] : a.listed.filter((point) => !b.listed.includes(point));
  return { ascii: without(a.ascii, b.ascii), listed, isOpen: a.isOpen && !b.isOpen };
}

/** States without the edges from which no text can end. */
function withoutDeadEnds(states: readonly State[]): readonly State[] {
  const sources = states.map((): number[] => []);
  for (const [i, { edges }] of states.entries()) for (const { target } of edges) sources[target].push(i);
  const alive = new Set([...states.keys()].filter((i) => states[i].isFinal));
  for (const state of alive) for (const source of sources[state]) alive.add(source);
  return states.map(({ isFinal, edges }) => ({ isFinal, edges: edges.filter(({ target }) => alive.has(target)) }));
}

/** The automaton with one state in place of several whose edges are equal. */
function merged(states: readonly State[]): readonly State[] {
  const order = afterTheirTargets(states);
  const representatives = states.map((_, i) => i);
  for (let isChanged = true; isChanged; ) {
    isChanged = false;
    const known = new Map<string, number>();
    for (const i of order) {
      if (representatives[i] !== i) continue;
      const edges = states[i].edges.map(({ letters, target }) => [resolved(representatives, target), letters] as const);
      const key = JSON.stringify([states[i].isFinal, edges.toSorted(([a], [b]) => a - b)]);
      const same = known.get(key);
      if (same === undefined) known.set(key, i);
      else if (i !== 0) {
        representatives[i] = same;
        isChanged = true;
      }
    }
  }
  return renumbered(states, representatives);
}

function resolved(representatives: readonly number[], state: number): number {
  let found = state;
  while (representatives[found] !== found) found = representatives[found];
  return found;
}

/** Numbers of states, each after the states that it leads to, as far as there are no circles. */
function afterTheirTargets(states: readonly State[]): readonly number[] {
  const order: number[] = [];
  const seen = new Set<number>([0]);
  const open: { readonly state: number; next: number }[] = [{ state: 0, next: 0 }];
  for (let top = open.at(-1); top; top = open.at(-1)) {
    const edge = states[top.state].edges[top.next++];
    if (edge === undefined) {
      order.push(top.state);
      open.pop();
    } else if (!seen.has(edge.target)) {
      seen.add(edge.target);
      open.push({ state: edge.target, next: 0 });
    }
  }
  return order;
}

function renumbered(states: readonly State[], representatives: readonly number[]): readonly State[] {
  const numbers = new Map([[resolved(representatives, 0), 0]]);
  const found: State[] = [];
  for (const [old] of numbers) {
    const targets = new Map<number, Letters>();
    for (const { letters, target } of states[old].edges) {
      const kept = resolved(representatives, target);
      if (!numbers.has(kept)) numbers.set(kept, numbers.size);
      const number = numbers.get(kept) ?? 0;
      targets.set(number, joined(targets.get(number), letters));
    }
    found.push({
      isFinal: states[old].isFinal,
      edges: Array.from(targets, ([target, letters]) => ({ letters, target })),
    });
  }
  return found;
}

function joined(a: Letters | undefined, b: Letters): Letters {
  if (a === undefined) return b;
  const ascii = [...a.ascii, ...b.ascii].toSorted(([x], [y]) => x - y);
  const all: Letters = { ascii: [], listed: [...a.listed, ...b.listed], isOpen: a.isOpen || b.isOpen };
  return ascii.reduce(withLetter, all);
}
