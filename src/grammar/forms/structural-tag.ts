import { isJsonObject, type JsonObject, type JsonValue } from '../../checkpoint/json/json.ts';
import { StructuredOutputsError } from '../../errors.ts';
import { EbnfGrammar, literal, oneOf, ROOT } from './ebnf.ts';
import { jsonSchemaGrammar } from './json-schema.ts';
import { regexExpression } from './regex.ts';
import { safeGrammar } from './safe-grammar.ts';
import { show } from './schema-keywords.ts';

const MAX_DEPTH = 100;

/** Formats of XGrammar's structural tags, with their members. */
const FORMATS: Readonly<Record<string, readonly string[]>> = {
  any_text: [],
  const_string: ['value'],
  json_schema: ['json_schema'],
  grammar: ['grammar'],
  regex: ['pattern'],
  qwen_xml_parameter: ['json_schema'],
  sequence: ['elements'],
  or: ['elements'],
  tag: ['begin', 'content', 'end'],
  triggered_tags: ['triggers', 'tags'],
  tags_with_separator: ['tags', 'separator'],
};

/**
 * XGrammar's structural tag as text, in which schemas and regular expressions are grammars already: what is
 * refused in them is refused here as everywhere.
 * @throws StructuredOutputsError about what is malformed or unknown.
 */
export function structuralTagText(tag: JsonValue): string {
  const format = isJsonObject(tag) && isJsonObject(tag.format) ? tag.format : tag;
  return JSON.stringify({ type: 'structural_tag', format: converted(format, 0) });
}

function converted(format: JsonValue | undefined, depth: number): JsonObject {
  if (depth > MAX_DEPTH) throw malformed(`is nested more than ${MAX_DEPTH} deep`);
  if (!isJsonObject(format)) throw malformed(`has the format ${show(format)}; expected an object`);
  const { type } = format;
  const members = typeof type === 'string' && Object.hasOwn(FORMATS, type) ? FORMATS[type] : undefined;
  if (!members) throw malformed(`has the type ${show(type)}; expected one of ${Object.keys(FORMATS).join(', ')}`);
  for (const member of members) {
    if (format[member] === undefined) throw malformed(`has the format '${type}' without '${member}'`);
  }
  switch (type) {
    case 'json_schema':
      return grammar(jsonSchemaGrammar(format.json_schema));
    case 'regex':
      return grammar(regexGrammar(String(format.pattern)));
    case 'grammar':
      return grammar(String(format.grammar));
    case 'or':
      return alternatives(list(format.elements, 'elements'), depth);
    case 'sequence':
      return { ...format, elements: list(format.elements, 'elements').map((each) => converted(each, depth + 1)) };
    case 'tag':
      return { ...format, content: converted(format.content, depth + 1) };
    case 'triggered_tags':
    case 'tags_with_separator':
      return { ...format, tags: list(format.tags, 'tags').map((each) => converted(each, depth + 1)) };
    default:
      return format;
  }
}

function grammar(text: string): JsonObject {
  return { type: 'grammar', grammar: safeGrammar(text) };
}

/** Constant texts are one grammar: XGrammar would write them into one rule, of which it takes other texts too. */
function alternatives(elements: readonly JsonValue[], depth: number): JsonObject {
  const texts: string[] = [];
  const others: JsonObject[] = [];
  for (const element of elements) {
    const isText = isJsonObject(element) && element.type === 'const_string' && typeof element.value === 'string';
    if (isText) texts.push(String(element.value));
    else others.push(converted(element, depth + 1));
  }
  if (texts.length > 0) others.push(grammar(choiceGrammar(texts)));
  return others.length === 1 ? others[0] : { type: 'or', elements: others };
}

/** A grammar for one of some texts. */
export function choiceGrammar(choice: readonly string[]): string {
  const written = new EbnfGrammar();
  written.define(written.reserve(ROOT), oneOf([...new Set(choice)].map(literal)));
  return written.toString();
}

/** A grammar for the texts that a regular expression matches from end to end. */
export function regexGrammar(pattern: string): string {
  const written = new EbnfGrammar();
  written.define(written.reserve(ROOT), regexExpression(pattern));
  return written.toString();
}

function list(value: JsonValue, member: string): readonly JsonValue[] {
  if (Array.isArray(value) && value.length > 0) return value;
  throw malformed(`has ${member} ${show(value)}; expected a list that is not empty`);
}

function malformed(problem: string): StructuredOutputsError {
  return new StructuredOutputsError(`The structural tag ${problem}.`);
}
