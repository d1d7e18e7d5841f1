import { getOwn, isJsonObject, type JsonObject, type JsonValue } from '../../checkpoint/json/json.ts';
import {
  checkedStructuredOutputs,
  parsedForm,
  type StructuredOutputs,
} from '../../grammar/forms/structured-outputs.ts';
import { schemaTypes } from '../../text/parsers/schema-types.ts';
import type { ToolChoice, ToolFunction } from '../../text/parsers/tool-definition.ts';
import type { CallFrame, ToolDialect } from '../../text/parsers/tool-dialect.ts';

/** Calls that an answer must have, or may have in a certain form only. */
interface ToolGrammar {
  readonly dialect: ToolDialect;
  readonly tools: readonly ToolFunction[];
  readonly choice: ToolChoice;
  readonly isParallel: boolean;
  /** Form of an answer without calls. */
  readonly form: StructuredOutputs | undefined;
}

/**
 * The form of an answer whose calls are enforced: all for `required` or a function, those of strict functions otherwise. An
 * answer that must have another form has that, or one call. Undefined: nothing is enforced.
 */
export function toolGrammar({ dialect, tools, choice, isParallel, form }: ToolGrammar): StructuredOutputs | undefined {
  const mustCall = choice !== 'auto' && choice !== 'none';
  const allowed = typeof choice === 'object' ? tools.filter(({ name }) => name === choice.function.name) : tools;
  const answer = checkedStructuredOutputs(form);
  if (!mustCall && !answer && !allowed.some(({ strict }) => strict)) return undefined;
  const tags = allowed.map(({ name, parameters = ANY_OBJECT, strict }) => {
    // Where calls are required their arguments fit the schema too, as in vLLM; in free answers only strict ones must.
    return callTag(dialect.frame(name), strict || mustCall ? parameters : ANY_OBJECT);
  });
  const isOne = !isParallel || typeof choice === 'object';
  if (mustCall)
    return asTag({ type: 'tags_with_separator', tags, separator: '\n', at_least_one: true, stop_after_first: isOne });
  // XGrammar lets nothing that may continue, such as several calls, stand next to what ends.
  if (answer) return asTag({ type: 'or', elements: [...tags, formatOf(answer)] });
  return asTag({ type: 'triggered_tags', triggers: [dialect.markers[0]], tags });
}

function asTag(format: JsonObject): StructuredOutputs {
  return { structuralTag: { type: 'structural_tag', format } };
}

/** A form as a part of a structural tag. @throws StructuredOutputsError where it is text that is no JSON */
function formatOf({ json, regex, choice, grammar, structuralTag }: StructuredOutputs): JsonObject {
  if (json !== undefined) return { type: 'json_schema', json_schema: parsedForm(json, 'schema') };
  if (regex !== undefined) return { type: 'regex', pattern: regex };
  if (choice !== undefined) return { type: 'or', elements: choice.map((value) => ({ type: 'const_string', value })) };
  if (grammar !== undefined) return { type: 'grammar', grammar };
  if (structuralTag === undefined) return { type: 'json_schema', json_schema: ANY_OBJECT };
  const tag = parsedForm(structuralTag, 'structural tag') as JsonObject;
  return isJsonObject(tag.format) ? tag.format : tag;
}

const ANY_OBJECT: JsonObject = { type: 'object' };

function callTag({ begin, end, arguments: style }: CallFrame, schema: JsonObject): JsonObject {
  const content: JsonObject = style === 'json' ? { type: 'json_schema', json_schema: schema } : xmlArguments(schema);
  return { type: 'tag', begin, content, end };
}

/**
 * Arguments as XML: the schema's properties in their order, those that are not required may be missing. Texts are free
 * unless they are enumerated: other constraints of theirs are not enforced.
 */
function xmlArguments(schema: JsonObject): JsonObject {
  const properties = getOwn(schema, 'properties');
  if (!isJsonObject(properties) || Object.keys(properties).length === 0) return SPACE;
  const required = getOwn(schema, 'required');
  const isRequired = (key: string) => Array.isArray(required) && required.includes(key);
  const elements = Object.entries(properties).map(([key, property]): JsonObject => {
    const parameter: JsonObject = {
      type: 'tag',
      begin: `<parameter=${key}>\n`,
      content: xmlValue(schema, key, property),
      end: '\n</parameter>\n',
    };
    return isRequired(key) ? parameter : { type: 'or', elements: [parameter, SPACE] };
  });
  return { type: 'sequence', elements };
}

/** Nothing, or a line end: a format that may be empty. */
const SPACE: JsonObject = { type: 'regex', pattern: '\\n?' };

function xmlValue(schema: JsonObject, key: string, property: JsonValue): JsonObject {
  const types = schemaTypes(schema, key);
  const values = isJsonObject(property) ? getOwn(property, 'enum') : undefined;
  if (Array.isArray(values) && values.every((value) => typeof value === 'string')) {
    return { type: 'or', elements: values.map((value) => ({ type: 'const_string', value })) };
  }
  if (types.has('string') || !isJsonObject(property)) return { type: 'any_text' };
  const definitions = getOwn(schema, '$defs');
  return {
    type: 'json_schema',
    json_schema: definitions === undefined ? property : { ...property, $defs: definitions },
  };
}
