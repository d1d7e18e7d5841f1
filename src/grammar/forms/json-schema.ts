import { isJsonObject, type JsonObject, type JsonValue } from '../../checkpoint/json/json.ts';
import { resolvePointer } from '../../checkpoint/json/json-pointer.ts';
import { StructuredOutputsError } from '../../errors.ts';
import { groupBy } from '../../util/group-by.ts';
import { type CodePoints, characterClass, EbnfGrammar, literal, oneOf, ROOT, repeated, without } from './ebnf.ts';
import { character, EVERYTHING, limitedText, NOT_PLAIN, PLAIN, PropertyNames } from './json-strings.ts';
import { multiplesWithin } from './multiples.ts';
import { integersWithin, MAX_DIGITS, numbersWithin } from './number-range.ts';
import { combine } from './schema-combination.ts';
import { counts, KEYWORDS, malformed, number, show, unsupported } from './schema-keywords.ts';
import { satisfiableReferences } from './schema-references.ts';

/** Nesting of a schema above which it is refused: it is written by a program that does not end, or by an attacker. */
const MAX_DEPTH = 100;
const TYPES = ['null', 'boolean', 'integer', 'number', 'string', 'array', 'object'] as const;
type Type = (typeof TYPES)[number];

/**
 * A grammar for the JSON texts that a JSON Schema (draft 2020-12) accepts: not all of them, but only such. White space is a space, or a
 * line's end with an indent. Objects without `additionalProperties` have the properties that they list and no others, in that
 * order.
 * @throws StructuredOutputsError for a keyword that is not supported, by its name, and for a schema that accepts nothing.
 */
export function jsonSchemaGrammar(schema: JsonValue): string {
  return new SchemaGrammar(schema).toString();
}

/** Objects of any form. */
export const ANY_OBJECT: JsonObject = { type: 'object' };

class SchemaGrammar {
  readonly #grammar = new EbnfGrammar();
  readonly #root: JsonValue;
  /** Rules of what `$ref` refers to. */
  readonly #references = new Map<string, string>();
  readonly #satisfiable: ReadonlySet<string>;
  /** References that led here without anything written since. */
  #entered = new Set<string>();
  #depth = 0;
  #any: string | undefined;
  /** Rest of a string of any length. */
  #rest: string | undefined;

  constructor(root: JsonValue) {
    this.#root = root;
    this.#satisfiable = satisfiableReferences(root);
    this.#grammar.reserve(ROOT);
    const expression = this.#schema(root, '#');
    if (expression === undefined) throw acceptsNothing('#');
    this.#grammar.define(ROOT, expression);
  }

  toString(): string {
    return this.#grammar.toString();
  }

  /** Expression for the values that a schema accepts; undefined where it accepts none that can be written. */
  #schema(schema: JsonValue | undefined, path: string): string | undefined {
    if (schema === true) return this.#anyValue();
    if (schema === false) return undefined;
    if (!isJsonObject(schema)) throw malformed(path, `is ${show(schema)}; expected an object, true or false`);
    if (++this.#depth > MAX_DEPTH) {
      throw new StructuredOutputsError(`The schema is nested more than ${MAX_DEPTH} deep.`, 'Make it flatter.');
    }
    try {
      return this.#object(schema, path);
    } finally {
      this.#depth--;
    }
  }

  #object(schema: JsonObject, path: string): string | undefined {
    for (const [keyword, value] of Object.entries(schema)) {
      // Below the root an id would change what references mean.
      if (!KEYWORDS.has(keyword) || (keyword === '$id' && path !== '#')) throw unsupported(path, keyword, value);
    }
    const { $ref: reference, allOf, anyOf, oneOf: only, ...rest } = schema;
    if (rest.uniqueItems !== undefined && rest.uniqueItems !== false)
      throw unsupported(path, 'uniqueItems', rest.uniqueItems);
    const { uniqueItems: _, ...constraints } = withoutAnnotations(rest);
    if (reference !== undefined) {
      if (Object.keys(constraints).length === 0 && !allOf && !anyOf && !only) return this.#reference(reference, path);
      return this.#schema(combine(this.#resolved(reference, path), withoutKey(schema, '$ref'), path), path);
    }
    if (allOf !== undefined) {
      const all = listOf(allOf, path, 'allOf').map((each, i) => this.#inlined(each, `${path}/allOf/${i}`));
      return this.#schema(
        all.reduce((sum, each) => combine(sum, each, path), withoutKey(schema, 'allOf')),
        path,
      );
    }
    const keyword = anyOf === undefined ? 'oneOf' : 'anyOf';
    const alternatives = anyOf ?? only;
    if (anyOf !== undefined && only !== undefined) throw unsupported(path, 'oneOf', 'besides anyOf');
    if (alternatives !== undefined) {
      const list = listOf(alternatives, path, keyword);
      if (keyword === 'oneOf') this.#assertDisjoint(list, path);
      const found = list.flatMap((each, i) => {
        const inner = `${path}/${keyword}/${i}`;
        const isAlone = Object.keys(constraints).length === 0;
        const combined = isAlone ? each : combine(this.#inlined(each, inner), constraints, inner);
        return this.#schema(combined, inner) ?? [];
      });
      return found.length === 0 ? undefined : this.#grammar.rule(oneOf([...new Set(found)]));
    }
    return this.#typed(constraints, path);
  }

  #typed(schema: JsonObject, path: string): string | undefined {
    const types = typesOf(schema, path);
    const listed = schema.enum ?? (schema.const === undefined ? undefined : [schema.const]);
    if (listed !== undefined) return this.#listed(schema, listed, types, path);
    const isAny = Object.keys(schema).every((keyword) => keyword === 'type');
    if (isAny && types.length === TYPES.length) return this.#anyValue();
    // A number is an integer too.
    const wanted = types.filter((type) => type !== 'integer' || !types.includes('number'));
    const found = wanted.flatMap((type) => this.#ofType(type, schema, path) ?? []);
    return found.length === 0 ? undefined : oneOf(found);
  }

  #ofType(type: Type, schema: JsonObject, path: string): string | undefined {
    switch (type) {
      case 'null':
        return '"null"';
      case 'boolean':
        return '("true" | "false")';
      case 'integer':
      case 'number':
        return this.#number(type, schema, path);
      case 'string':
        return this.#string(schema, path);
      case 'array':
        return this.#array(schema, path);
      case 'object':
        return this.#properties(schema, path);
    }
  }

  #listed(schema: JsonObject, listed: JsonValue, types: readonly Type[], path: string): string | undefined {
    const values = listOf(listed, path, 'enum');
    const other = Object.keys(schema).find((keyword) => !['type', 'enum', 'const'].includes(keyword));
    if (other !== undefined) throw unsupported(path, other, 'besides enum or const');
    const isConst = schema.const !== undefined && schema.enum !== undefined;
    const wanted = isConst ? values.filter((each) => equal(each, schema.const)) : values;
    const texts = wanted
      .filter((value) => types.some((type) => isOfType(value, type)))
      .map((each) => JSON.stringify(each));
    if (texts.length === 0) return undefined;
    return this.#grammar.rule(oneOf([...new Set(texts)].map(literal)));
  }

  #number(type: 'integer' | 'number', schema: JsonObject, path: string): string | undefined {
    const [inclusiveMin, exclusiveMin] = [number(schema, 'minimum', path), number(schema, 'exclusiveMinimum', path)];
    const [inclusiveMax, exclusiveMax] = [number(schema, 'maximum', path), number(schema, 'exclusiveMaximum', path)];
    const step = number(schema, 'multipleOf', path);
    if (
      step === undefined &&
      [inclusiveMin, exclusiveMin, inclusiveMax, exclusiveMax].every((bound) => bound === undefined)
    ) {
      const integer = `"-"? ("0" | [1-9] [0-9]{0,${MAX_DIGITS - 1}})`;
      if (type === 'integer') return this.#grammar.rule(integer);
      return this.#grammar.rule(`${integer} ("." [0-9]{1,${MAX_DIGITS}})? ([eE] [+\\-]? [0-9]{1,2})?`);
    }
    const isMinExcluded = exclusiveMin !== undefined && exclusiveMin >= (inclusiveMin ?? Number.NEGATIVE_INFINITY);
    const isMaxExcluded = exclusiveMax !== undefined && exclusiveMax <= (inclusiveMax ?? Number.POSITIVE_INFINITY);
    const min = isMinExcluded ? exclusiveMin : inclusiveMin;
    const max = isMaxExcluded ? exclusiveMax : inclusiveMax;
    const bounds = { min, max, isMinExcluded, isMaxExcluded };
    if (step !== undefined) {
      const multiples = multiplesWithin(step, bounds);
      if (multiples === undefined) throw unsupported(path, 'multipleOf', step);
      return multiples === '' ? undefined : this.#grammar.rule(multiples);
    }
    const found = type === 'integer' ? integersWithin(bounds) : numbersWithin(bounds);
    return found === undefined ? undefined : this.#grammar.rule(found);
  }

  #string(schema: JsonObject, path: string): string | undefined {
    const limited = limitedText(schema, path);
    if (limited !== undefined) return this.#grammar.rule(`"\\"" (${limited}) "\\""`);
    const [min, max] = counts(schema, 'minLength', 'maxLength', path);
    return min > max ? undefined : `"\\"" ${this.#restOfString(min, max)}`;
  }

  /**
   * The rest of a string with its quote, each character of which leads to the rest after it: a rule for characters alone would
   * end in the middle of most tokens, and XGrammar would have to try each of them at every step.
   */
  #restOfString(min: number, max: number): string {
    const isOpen = max === Number.POSITIVE_INFINITY;
    let rest = '"\\""';
    if (isOpen) {
      this.#rest ??= this.#grammar.reserve('rest');
      this.#grammar.define(this.#rest, `"\\"" | ${character(this.#rest)}`);
      rest = this.#rest;
    }
    for (let place = (isOpen ? min : max) - 1; place >= 0; place--) {
      rest = this.#grammar.rule(`${place >= min ? '"\\"" | ' : ''}${character(rest)}`, 'rest');
    }
    return rest;
  }

  #array(schema: JsonObject, path: string): string | undefined {
    const [min, max] = counts(schema, 'minItems', 'maxItems', path);
    if (min > max) return undefined;
    const prefix = schema.prefixItems === undefined ? [] : listOf(schema.prefixItems, path, 'prefixItems');
    const firsts = prefix.map((each, i) => this.#inner(each, `${path}/prefixItems/${i}`));
    const item = this.#inner(schema.items ?? true, `${path}/items`);
    // From an element that can't be on, there is none.
    const impossible = firsts.indexOf(undefined);
    const most = Math.min(max, impossible >= 0 ? impossible : item === undefined ? firsts.length : max);
    if (min > most) return undefined;
    const elements = firsts.slice(0, most).flatMap((each) => each ?? []);
    const more = item === undefined || most <= firsts.length ? [0, 0] : [min - elements.length, most - elements.length];
    return `"[" ${this.#space()} ${this.#elements(elements, item ?? '""', min, [Math.max(0, more[0]), more[1]])}"]"`;
  }

  /** The inside of an array: given elements, of which those from `min` on may be missing, and further ones. */
  #elements(elements: readonly string[], item: string, min: number, [fewest, most]: readonly number[]): string {
    const space = this.#space();
    const comma = `"," ${space}`;
    const rule = (name: string) => this.#grammar.rule(name, 'item');
    const further = rule(`${item} ${space}`);
    if (elements.length === 0) {
      if (most === 0) return '';
      const rest = `${further} ${repeated(`${comma} ${further}`, Math.max(0, fewest - 1), most - 1)}`;
      return fewest === 0 ? `(${rest})? ` : `${rest} `;
    }
    let tail = most === 0 ? '' : `${repeated(`${comma} ${further}`, fewest, most)} `;
    for (let i = elements.length - 1; i >= 0; i--) {
      const own = `${i > 0 ? `${comma} ` : ''}${elements[i]} ${space} ${tail}`;
      tail = `${rule(i >= min ? `(${own})?` : own)} `;
    }
    return tail;
  }

  #properties(schema: JsonObject, path: string): string | undefined {
    const { required = [], additionalProperties, propertyNames } = schema;
    const [properties, patternProperties] = ['properties', 'patternProperties'].map((keyword) => {
      const value = schema[keyword] ?? {};
      if (isJsonObject(value)) return value;
      throw malformed(path, `has ${keyword} that are ${show(value)}; expected an object`);
    });
    const needed = new Set(listOf(required, path, 'required', 0).map(String));
    const names = new PropertyNames(propertyNames, patternProperties, path);
    const isOpen = schema.properties === undefined && schema.patternProperties === undefined;
    const others = additionalProperties ?? isOpen;
    const space = this.#space();
    const members: { readonly text: string; readonly isNeeded: boolean }[] = [];
    const all = new Map(Object.entries(properties));
    for (const name of needed) if (!all.has(name)) all.set(name, names.patternOf(name) ?? others);
    for (const [name, each] of all) {
      const pattern = names.patternOf(name);
      const both = pattern === undefined || pattern === each ? each : { allOf: [each, pattern] };
      const value = names.allows(name) ? this.#inner(both, `${path}/properties/${name}`) : undefined;
      const isNeeded = needed.has(name);
      if (value === undefined && isNeeded) return undefined;
      if (value !== undefined)
        members.push({ text: `${literal(`${JSON.stringify(name)}:`)} ${space} ${value} ${space}`, isNeeded });
    }
    const known = [...all.keys()];
    const further = [
      ...names
        .patterns(known)
        .map(({ name, schema: own }) => [name, this.#inner(own, `${path}/patternProperties`)] as const),
      [this.#otherNames(names, known), this.#inner(others, `${path}/additionalProperties`)] as const,
    ].flatMap(([name, value]) => (name && value ? [`${name} ":" ${space} ${value} ${space}`] : []));
    const rule = further.length === 0 ? undefined : this.#grammar.rule(oneOf(further), 'member');
    return `"{" ${space} ${this.#members(members, rule)} "}"`;
  }

  #otherNames(names: PropertyNames, known: readonly string[]): string {
    return names.others(known) ?? `"\\"" ${this.#otherName(known)}`;
  }

  /** Members in their order, of which some may be missing, and further ones; commas stand between those that are there. */
  #members(
    members: readonly { readonly text: string; readonly isNeeded: boolean }[],
    further: string | undefined,
  ): string {
    const comma = `"," ${this.#space()}`;
    // What may follow after some member, and what may stand where none is before.
    let after = further === undefined ? '""' : `(${comma} ${further})*`;
    let first = further === undefined ? '""' : `(${further} (${comma} ${further})*)?`;
    for (const { text, isNeeded } of members.toReversed()) {
      const member = this.#grammar.rule(text, 'member');
      const rest = this.#grammar.rule(after, 'after');
      after = isNeeded ? `${comma} ${member} ${rest}` : `(${comma} ${member} ${rest} | ${rest})`;
      first = isNeeded ? `${member} ${rest}` : `(${member} ${rest} | ${this.#grammar.rule(first, 'first')})`;
    }
    return this.#grammar.rule(first, 'members');
  }

  /** The rest of a name, and its quote, that is none of these. Escapes, in which a name could hide, do not occur. */
  #otherName(names: readonly string[]): string {
    const anything = `${PLAIN}* "\\""`;
    const at = (rests: readonly string[], depth: number): string => {
      if (rests.length === 0) return anything;
      if (depth > 1000) throw new StructuredOutputsError('A property has a name of more than 1000 characters.');
      const byFirst = groupBy(
        rests.filter((rest) => rest !== ''),
        (rest) => String.fromCodePoint(rest.codePointAt(0) ?? 0),
      );
      const firsts = [...byFirst.keys()].map(
        (character): CodePoints => [character.codePointAt(0) ?? 0, character.codePointAt(0) ?? 0],
      );
      const unlike = characterClass(without(EVERYTHING, [...NOT_PLAIN, ...firsts]));
      const alternatives = [`${unlike} ${anything}`];
      if (!rests.includes('')) alternatives.push('"\\""');
      for (const [character, group] of byFirst) {
        const isPlain = without([[character.codePointAt(0) ?? 0, character.codePointAt(0) ?? 0]], NOT_PLAIN).length > 0;
        const inner = group.map((rest) => rest.slice(character.length));
        if (isPlain) alternatives.push(`${literal(character)} ${at(inner, depth + 1)}`);
      }
      return this.#grammar.rule(oneOf(alternatives), 'name');
    };
    return at(names, 0);
  }

  #anyValue(): string {
    if (this.#any !== undefined) return this.#any;
    this.#any = this.#grammar.reserve('any');
    const alternatives = TYPES.filter((type) => type !== 'integer').map((type) => this.#ofType(type, {}, '#'));
    this.#grammar.define(this.#any, oneOf(alternatives.flatMap((each) => each ?? [])));
    return this.#any;
  }

  /** A space, or a line's end with an indent, or nothing: models that were trained on either write JSON so. */
  #space(): string {
    return this.#grammar.rule('(" " | "\\n" [ \\t]{0,16})?', 'space');
  }

  #reference(reference: JsonValue, path: string): string | undefined {
    const target = this.#resolved(reference, path);
    const key = String(reference);
    // What leads to itself and through nothing adds no value, and what needs itself inside itself has no end.
    if (this.#entered.has(key) || !this.#satisfiable.has(key)) return undefined;
    const known = this.#references.get(key);
    if (known !== undefined) return known;
    const name = this.#grammar.reserve('ref');
    this.#references.set(key, name);
    this.#entered.add(key);
    const expression = this.#schema(target, key);
    this.#entered.delete(key);
    if (expression === undefined) throw acceptsNothing(key);
    this.#grammar.define(name, expression);
    return name;
  }

  /** A schema of an element or member, before which something is written. */
  #inner(schema: JsonValue, path: string): string | undefined {
    const outer = this.#entered;
    this.#entered = new Set();
    const expression = this.#schema(schema, path);
    this.#entered = outer;
    return expression;
  }

  #resolved(reference: JsonValue, path: string): JsonValue {
    if (typeof reference !== 'string' || !/^#($|\/)/.test(reference)) throw unsupported(path, '$ref', reference);
    const found = resolvePointer(this.#root, reference);
    if (found === undefined) throw malformed(path, `refers to ${show(reference)}, which the schema does not have`);
    return found;
  }

  /** A schema whose own reference, if it has one, is replaced by what that refers to. */
  #inlined(schema: JsonValue, path: string): JsonValue {
    let found = schema;
    for (let steps = 0; isJsonObject(found) && found.$ref !== undefined; steps++) {
      if (steps > MAX_DEPTH) throw malformed(path, 'refers to itself and to nothing else');
      const rest = withoutKey(found, '$ref');
      const target = this.#resolved(found.$ref, path);
      found = Object.keys(rest).length === 0 ? target : combine(target, rest, path);
    }
    return found;
  }

  /** Exactly one alternative may accept a value: it is certain where types differ, or a constant in a property that all need. */
  #assertDisjoint(list: readonly JsonValue[], path: string): void {
    const schemas = list.map((each, i) => this.#inlined(each, `${path}/oneOf/${i}`));
    for (const [i, a] of schemas.entries()) {
      for (const b of schemas.slice(i + 1)) {
        if (this.#areDisjoint(a, b, path)) continue;
        const hint =
          'Use anyOf, or give each alternative another type, or another constant in a property that all require.';
        throw new StructuredOutputsError(
          `The schema's oneOf at ${path} has alternatives that may accept the same value.`,
          hint,
        );
      }
    }
  }

  #areDisjoint(a: JsonValue, b: JsonValue, path: string): boolean {
    if (a === false || b === false) return true;
    if (!isJsonObject(a) || !isJsonObject(b)) return false;
    const [valuesA, valuesB] = [constantsOf(a), constantsOf(b)];
    if (valuesA && valuesB) return !valuesA.some((value) => valuesB.some((other) => equal(value, other)));
    const [typesA, typesB] = [valuesA?.map(typeOf) ?? typesOf(a, path), valuesB?.map(typeOf) ?? typesOf(b, path)];
    const isNumeric = (type: Type) => type === 'number' || type === 'integer';
    const overlap = typesA.filter((type) =>
      typesB.some((other) => type === other || (isNumeric(type) && isNumeric(other))),
    );
    if (overlap.length === 0) return true;
    if (overlap.some((type) => type !== 'object')) return false;
    const needed = listOf(a.required ?? [], path, 'required', 0).filter((name) =>
      listOf(b.required ?? [], path, 'required', 0).includes(name),
    );
    return needed.some((name) => {
      const [own, other] = [a, b].map(({ properties }) =>
        isJsonObject(properties) ? properties[String(name)] : undefined,
      );
      return own !== undefined && other !== undefined && this.#areDisjoint(own, other, path);
    });
  }
}

function typesOf(schema: JsonObject, path: string): readonly Type[] {
  const given = schema.type;
  if (given === undefined) return TYPES;
  const list = typeof given === 'string' ? [given] : listOf(given, path, 'type', 0);
  return list.map((each) => {
    const type = TYPES.find((known) => known === each);
    if (type === undefined) throw malformed(path, `has the type ${show(each)}; expected one of ${TYPES.join(', ')}`);
    return type;
  });
}

function typeOf(value: JsonValue): Type {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value === 'boolean' ? 'boolean' : typeof value === 'string' ? 'string' : 'object';
}

function isOfType(value: JsonValue, type: Type): boolean {
  const own = typeOf(value);
  return own === type || (own === 'integer' && type === 'number');
}

function constantsOf(schema: JsonObject): readonly JsonValue[] | undefined {
  if (schema.const !== undefined) return [schema.const];
  return Array.isArray(schema.enum) ? schema.enum : undefined;
}

function equal(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  return a !== undefined && b !== undefined && JSON.stringify(a) === JSON.stringify(b);
}

function listOf(value: JsonValue, path: string, keyword: string, fewest = 1): readonly JsonValue[] {
  if (Array.isArray(value) && value.length >= fewest) return value;
  throw malformed(path, `has ${keyword} ${show(value)}; expected a list${fewest > 0 ? ' that is not empty' : ''}`);
}

function withoutKey(schema: JsonObject, key: string): JsonObject {
  return Object.fromEntries(Object.entries(schema).filter(([name]) => name !== key));
}

function withoutAnnotations(schema: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(schema).filter(([keyword]) => KEYWORDS.get(keyword) === 'constraint'));
}

function acceptsNothing(path: string): StructuredOutputsError {
  return new StructuredOutputsError(`The schema at ${path} accepts no value.`, 'Its parts contradict each other.');
}
