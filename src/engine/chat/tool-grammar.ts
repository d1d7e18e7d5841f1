import type { JsonObject } from '../../checkpoint/json/json-parser.ts';
import type { StructuredOutputs } from '../../grammar/forms/structured-outputs.ts';
import type { ReasoningDialect } from '../../text/parsers/reasoning.ts';
import type { ToolChoice, ToolFunction } from '../../text/parsers/tool-definition.ts';
import type { ToolDialect } from '../../text/parsers/tool-dialect.ts';
import { refusal } from './checked-tools.ts';

/** Calls that an answer must have, or may have in a certain form only. */
interface ToolGrammar {
  readonly dialect: ToolDialect;
  readonly tools: readonly ToolFunction[];
  readonly choice: ToolChoice;
  readonly isParallel: boolean;
  /** Thoughts that come first, which are free. */
  readonly reasoning: { readonly dialect: ReasoningDialect; readonly isOpen: boolean | undefined } | undefined;
}

/**
 * The form of an answer whose calls are enforced: all for `required` or a function, those of strict functions otherwise.
 * Undefined: nothing is enforced. @throws SamplingParamsError when the dialect has no form for a grammar.
 */
export function toolGrammar({
  dialect,
  tools,
  choice,
  isParallel,
  reasoning,
}: ToolGrammar): StructuredOutputs | undefined {
  const mustCall = choice !== 'auto' && choice !== 'none';
  const allowed = typeof choice === 'object' ? tools.filter(({ name }) => name === choice.function.name) : tools;
  if (!mustCall && !allowed.some(({ strict }) => strict)) return undefined;
  const { frame } = dialect;
  if (frame === undefined) {
    throw refusal('toolChoice', `can't be enforced for calls in the form ${dialect.name}.`, "Use 'auto'.");
  }
  const tags = allowed.map(({ name, parameters = ANY_OBJECT, strict }) => {
    const { begin, arguments: style, end } = frame(name);
    // Where calls are required their arguments fit the schema too, as in vLLM; in free answers only strict ones must.
    const json_schema = strict || mustCall ? parameters : ANY_OBJECT;
    const type = style === 'qwen_xml' ? 'qwen_xml_parameter' : 'json_schema';
    return { type: 'tag', begin, content: { type, json_schema }, end };
  });
  const calls = {
    type: 'triggered_tags',
    triggers: dialect.markers.slice(0, 1),
    tags,
    at_least_one: mustCall,
    stop_after_first: mustCall && (!isParallel || typeof choice === 'object'),
  };
  const format = reasoning === undefined ? calls : afterThoughts(reasoning, calls);
  return { structuralTag: { type: 'structural_tag', format } as JsonObject };
}

const ANY_OBJECT = { type: 'object' };

/** A form that begins where the thoughts end. */
function afterThoughts(
  { dialect: { begin, end }, isOpen }: NonNullable<ToolGrammar['reasoning']>,
  format: object,
): object {
  if (isOpen === false) return format;
  const space = { type: 'regex', pattern: '\\s*' };
  const thoughts = (opening: string) => ({
    type: 'sequence',
    elements: [{ type: 'tag', begin: opening, content: { type: 'any_text' }, end }, space, format],
  });
  if (isOpen) return thoughts('');
  return { type: 'or', elements: [thoughts(begin), format] };
}
