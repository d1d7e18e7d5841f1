import { StructuredOutputsError } from '../../errors.ts';
import { automatonOf, isRegular, type State } from './automaton.ts';
import { classText, EbnfGrammar, type Letters, letterOf, lettersOf, literal, ROOT } from './ebnf.ts';
import { parseEbnf } from './ebnf-parser.ts';
import { choiceOf, type Expression, sequenceOf } from './expression.ts';

/** Rule for no text: a rule that refers to one stays a rule of its own. */
const NOTHING = 'nothing';

/** An alternative of a rule, written. */
interface Alternative {
  readonly elements: readonly string[];
  /** What it begins with: a rule, or characters of which it has one. */
  readonly lead: string | Letters;
  /** Whether it refers to a rule. */
  readonly hasRule: boolean;
}

/** A rule's alternatives, and whether it may be empty. */
interface Rule {
  readonly alternatives: readonly Alternative[];
  readonly isNullable: boolean;
}

/**
 * A grammar for the same texts that XGrammar understands as it is written. For each rule XGrammar makes an automaton, whose states
 * it merges too eagerly where alternatives begin alike and end alike: of `"cac" | "cbc" | "cbab"` it takes "caab" too, of
 * `[a]* "abc"` also "bc". So here all that needs no recursion is a deterministic automaton already, a rule for each of its
 * states that is reached on several ways; other alternatives that begin alike are rules of their own, which are never merged.
 * @throws StructuredOutputsError about what is malformed, or of which there is no text.
 */
export function safeGrammar(text: string): string {
  return new SafeGrammar(parseEbnf(text)).toString();
}

class SafeGrammar {
  readonly #grammar = new EbnfGrammar();
  readonly #source: ReadonlyMap<string, Expression>;
  readonly #rules = new Map<string, Rule>();
  /** Names of the source's rules here. */
  readonly #names = new Map<string, string>();
  /** Rules of expressions that occur more than once. */
  readonly #known = new Map<string, string>();
  /** Rules that alternatives begin with. */
  readonly #leading = new Set<string>();
  readonly #open: string[] = [];

  constructor(source: ReadonlyMap<string, Expression>) {
    this.#source = source;
    this.#grammar.reserve(ROOT);
    const root = this.#ruleOf(ROOT);
    for (let name = this.#open.pop(); name !== undefined; name = this.#open.pop()) {
      const expression = this.#source.get(name);
      if (expression) this.#define(this.#ruleOf(name), expression);
    }
    // The root only refers to a rule: where a root refers to itself, XGrammar takes each of its ends for the end of the text.
    this.#grammar.define(ROOT, root);
    for (const [name, rule] of this.#rules) this.#grammar.define(name, this.#written(name, rule));
    this.#grammar.define(NOTHING, '""');
  }

  toString(): string {
    return this.#grammar.toString();
  }

  /** XGrammar puts a rule that has no other in its place, where an alternative begins with it. */
  #written(name: string, { alternatives, isNullable }: Rule): string {
    const isAlone = this.#leading.has(name) && !isNullable && !alternatives.some(({ hasRule }) => hasRule);
    const written = alternatives.map(({ elements }) => [...elements, ...(isAlone ? [NOTHING] : [])].join(' '));
    return [...(isNullable ? ['""'] : []), ...written].join(' | ');
  }

  /** Name of a rule of the source, which is written later. */
  #ruleOf(name: string): string {
    const known = this.#names.get(name);
    if (known !== undefined) return known;
    const own = this.#grammar.reserve(name === ROOT ? 'main' : name.replaceAll(/[^A-Za-z0-9_]/g, '_'));
    this.#names.set(name, own);
    this.#open.push(name);
    return own;
  }

  #define(name: string, expression: Expression): void {
    const automaton = automatonOf(expression);
    if (automaton) this.#defineStates(name, automaton);
    else if (expression.type === 'both' || expression.type === 'except') throw tooLarge();
    else this.#defineAlternatives(name, expression);
  }

  /** A rule for a part of another one. */
  #part(expression: Expression): string {
    if (expression.type === 'rule') return this.#ruleOf(expression.name);
    const key = JSON.stringify(expression);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const name = this.#grammar.reserve('part');
    this.#known.set(key, name);
    this.#define(name, expression);
    return name;
  }

  #defineAlternatives(name: string, expression: Expression): void {
    const parts = expression.type === 'choice' ? expression.parts : [expression];
    const isRepeat =
      expression.type === 'repeat' && expression.min === 0 && expression.max === Number.POSITIVE_INFINITY;
    if (isRepeat) {
      const part = this.#part(expression.part);
      this.#set(name, { alternatives: [{ elements: [part, name], lead: part, hasRule: true }], isNullable: true });
      return;
    }
    const written = this.#joined(parts).map((part) => this.#sequence(part, expression.type !== 'choice'));
    const isNullable = written.some(({ elements }) => elements.length === 0);
    this.#set(name, {
      alternatives: this.#distinct(written.filter(({ elements }) => elements.length > 0)),
      isNullable,
    });
  }

  /** Parts of a choice, of which those that need no rules are one where they begin alike. */
  #joined(parts: readonly Expression[]): readonly Expression[] {
    const regular = parts.filter(isRegular);
    if (regular.length < 2 || regular.length === parts.length) return parts;
    const keys = regular
      .map((part) => plainElement(part.type === 'sequence' ? part.parts[0] : part)?.lead)
      .map((lead) => lead && leadKeys(lead));
    const isDistinct = !keys.includes(undefined) && new Set(keys.flat()).size === keys.flat().length;
    return isDistinct ? parts : [choiceOf(regular), ...parts.filter((part) => !isRegular(part))];
  }

  #set(name: string, rule: Rule): void {
    this.#rules.set(name, rule);
    if (rule.alternatives.length < 2) return;
    for (const { lead } of rule.alternatives) if (typeof lead === 'string') this.#leading.add(lead);
  }

  /** Alternatives of which no two begin alike: the others become rules. */
  #distinct(alternatives: readonly Alternative[]): readonly Alternative[] {
    const ways = new Map<string, number>();
    const keys = alternatives.map(({ lead }) => leadKeys(lead));
    for (const key of keys.flat()) ways.set(key, (ways.get(key) ?? 0) + 1);
    return alternatives.map((each, i) => (keys[i].some((key) => (ways.get(key) ?? 0) > 1) ? this.#apart(each) : each));
  }

  #apart(alternative: Alternative): Alternative {
    const name = this.#grammar.reserve('way');
    this.#rules.set(name, { alternatives: [alternative], isNullable: false });
    this.#leading.add(name);
    return { elements: [name], lead: name, hasRule: true };
  }

  /** Neighbours that need no rules are one part. */
  #sequence(expression: Expression, isTooLarge: boolean): Alternative {
    const parts = expression.type === 'sequence' ? expression.parts : [expression];
    // An automaton of all of them would have been too large.
    const isApart = isTooLarge && isRegular(expression);
    const elements: string[] = [];
    let lead: Alternative['lead'] | undefined;
    let hasRule = false;
    const add = (element: string, own: Alternative['lead']) => {
      elements.push(element);
      lead ??= own;
      hasRule ||= typeof own === 'string';
    };
    for (let i = 0; i < parts.length; ) {
      const begin = i;
      while (i < parts.length && isRegular(parts[i]) && !(isApart && i > begin)) i++;
      const regular = parts.slice(begin, i);
      const plain = regular.map(plainElement);
      if (!plain.includes(undefined)) {
        for (const element of plain) if (element) add(element.text, element.lead);
      } else if (isApart) {
        for (const element of this.#recursive(parts[begin])) add(element, ruleIn(element));
      } else {
        const name = this.#part(sequenceOf(regular));
        add(name, name);
      }
      if (i === begin) for (const element of this.#recursive(parts[i++])) add(element, ruleIn(element));
    }
    return { elements, lead: lead ?? NOTHING, hasRule };
  }

  /** Elements for a part that has rules in it, or many repetitions. */
  #recursive(part: Expression): readonly string[] {
    if (part.type !== 'repeat') return [this.#part(part)];
    const { min, max, part: inner } = part;
    if (max === 0) return [];
    if (max === 1) return [this.#part(min === 1 ? inner : choiceOf([sequenceOf([]), inner]))];
    if (max === Number.POSITIVE_INFINITY && min <= 1) {
      const all = this.#part({ type: 'repeat', part: inner, min: 0, max });
      return min === 0 ? [all] : [this.#part(inner), all];
    }
    return [`${this.#part(inner)}{${min},${max === Number.POSITIVE_INFINITY ? '' : max}}`];
  }

  /** Rules for the states of an automaton that are reached on several ways, the first under the given name. */
  #defineStates(name: string, states: readonly State[]): void {
    const ways = states.map(() => 0);
    for (const { edges } of states) for (const { letters, target } of edges) ways[target] += piecesOf(letters).length;
    ways[0] = Number.POSITIVE_INFINITY;
    const names = new Map<number, string>();
    for (const [i, { isFinal, edges }] of states.entries()) {
      const isEnd = edges.length === 0;
      if (!isEnd && (ways[i] > 1 || isFinal || edges.length > 1 || piecesOf(edges[0].letters).length > 1)) {
        names.set(i, i === 0 ? name : this.#grammar.reserve('state'));
      }
    }
    if (!states[0].isFinal && states[0].edges.length === 0) {
      throw new StructuredOutputsError("The grammar can't be compiled: no text is of the form that it describes.");
    }
    names.set(0, name);
    for (const [i, own] of names) this.#defineState(own, i, states, names);
  }

  /** What leads back to its own state is written as a repetition: a rule in itself would be one more for each character. */
  #defineState(name: string, state: number, states: readonly State[], names: ReadonlyMap<number, string>): void {
    const { isFinal, edges } = states[state];
    const loop = edges.find((edge) => edge.target === state && repeatable(edge.letters) !== undefined);
    const others = edges.filter((edge) => edge !== loop);
    const alternatives = this.#distinct(
      others.flatMap(({ letters, target }) =>
        piecesOf(letters).map((piece) => this.#way(piece, target, states, names)),
      ),
    );
    if (!loop) {
      this.#set(name, { alternatives, isNullable: isFinal });
      return;
    }
    const elements = [`${repeatable(loop.letters)}*`];
    if (others.length > 0) {
      const rest = this.#grammar.reserve('rest');
      this.#set(rest, { alternatives, isNullable: isFinal });
      elements.push(rest);
    }
    const hasRule = others.length > 0;
    this.#set(name, { alternatives: [{ elements, lead: loop.letters, hasRule }], isNullable: false });
  }

  /** A character, and those after it up to the next state that has a rule. */
  #way(letters: Letters, target: number, states: readonly State[], names: ReadonlyMap<number, string>): Alternative {
    const elements = [pieceText(letters)];
    let at = target;
    while (!names.has(at) && states[at].edges.length > 0) {
      const [edge] = states[at].edges;
      elements.push(pieceText(edge.letters));
      at = edge.target;
    }
    const next = names.get(at);
    if (next !== undefined) elements.push(next);
    return { elements, lead: letters, hasRule: next !== undefined };
  }
}

function tooLarge(): StructuredOutputsError {
  const problem = 'a lookahead, or a limit of the length besides a pattern, makes it too large';
  return new StructuredOutputsError(`The grammar can't be compiled: ${problem}.`, 'Leave the limit out.');
}

/** A text or class, which needs no rule; undefined for other parts. */
function plainElement(part: Expression): { readonly text: string; readonly lead: Letters } | undefined {
  if (part.type === 'text' && part.text !== '') return { text: literal(part.text), lead: leadOf(part.text) };
  if (part.type !== 'class') return undefined;
  const letters = lettersOf(part.ranges);
  return piecesOf(letters).length === 1 ? { text: pieceText(letters), lead: letters } : undefined;
}

/** Name of the rule in an element that may be repeated. */
function ruleIn(element: string): string {
  return element.replace(/\{.*/, '');
}

/** Parts of letters that are one element each. */
function piecesOf({ ascii, listed, isOpen }: Letters): readonly Letters[] {
  const first = ascii.length > 0 || isOpen ? [{ ascii, listed: [], isOpen }] : [];
  return [...first, ...listed.map((point) => ({ ascii: [], listed: [point], isOpen: false }))];
}

/** Class for all of these letters; undefined where one class can't have them. */
function repeatable({ ascii, listed, isOpen }: Letters): string | undefined {
  const texts = classText(ascii, isOpen);
  return listed.length === 0 && texts.length === 1 ? texts[0] : undefined;
}

function pieceText({ ascii, listed, isOpen }: Letters): string {
  if (listed.length > 0) return literal(String.fromCodePoint(listed[0]));
  const texts = classText(ascii, isOpen);
  return texts.length === 1 ? texts[0] : `(${texts.join(' | ')})`;
}

const BEYOND_ASCII = 'beyond';

/** What two alternatives must not have in common. Beyond ASCII all share bytes. */
function leadKeys(lead: Alternative['lead']): readonly string[] {
  if (typeof lead === 'string') return [`rule ${lead}`];
  const { ascii, listed, isOpen } = lead;
  const points = ascii.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => `${first + i}`));
  return listed.length > 0 || isOpen ? [...points, BEYOND_ASCII] : points;
}

function leadOf(text: string): Letters {
  return letterOf(text.codePointAt(0) ?? 0);
}
