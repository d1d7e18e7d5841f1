import { ArgumentError } from '../../errors.ts';
import type { ReasoningDialect } from './reasoning.ts';
import type { ToolDialect } from './tool-dialect.ts';
import { falconH1 } from './tools/falcon-h1.ts';
import { granite4 } from './tools/granite4.ts';
import { hermes } from './tools/hermes.ts';
import { mistral } from './tools/mistral.ts';
import { nemotronJson } from './tools/nemotron-json.ts';
import { qwen3Xml } from './tools/qwen3-xml.ts';

const TOOL_DIALECTS: readonly ToolDialect[] = [granite4, qwen3Xml, hermes, mistral, falconH1, nemotronJson];

const THINK = { begin: '<think>', end: '</think>' } as const;

const REASONING_DIALECTS: readonly ReasoningDialect[] = [
  { name: 'think', ...THINK },
  { name: 'deepseek_r1', ...THINK, isOpen: true },
  { name: 'mistral', begin: '[THINK]', end: '[/THINK]' },
];

/** Other names under which vLLM has these. */
const ALIASES: Readonly<Record<string, string>> = {
  qwen3_coder: 'qwen3_xml',
  nemotron_v3: 'qwen3_xml',
};
const REASONING_ALIASES: Readonly<Record<string, string>> = { qwen3: 'think', nemotron_v3: 'think' };

/** Names for `toolCallParser`: `auto` chooses by the chat template, `none` leaves calls in the text. */
export const TOOL_CALL_PARSERS: readonly string[] = [
  'auto',
  'none',
  ...TOOL_DIALECTS.map(({ name }) => name),
  ...Object.keys(ALIASES),
];

/** Names for `reasoningParser`, as those for `toolCallParser`. */
export const REASONING_PARSERS: readonly string[] = [
  'auto',
  'none',
  ...REASONING_DIALECTS.map(({ name }) => name),
  ...Object.keys(REASONING_ALIASES),
];

/**
 * How a model writes its calls; undefined: its template does not say.
 * @param template Jinja source of the chat template
 * @throws ArgumentError about an unknown name
 */
export function chooseToolDialect(template: string, name = 'auto'): ToolDialect | undefined {
  if (name === 'none') return undefined;
  if (name === 'auto') return toolDialectOf(template);
  const asked = Object.hasOwn(ALIASES, name) ? ALIASES[name] : name;
  const dialect = TOOL_DIALECTS.find((each) => each.name === asked);
  if (dialect) return dialect;
  throw new ArgumentError(`There is no toolCallParser '${name}'.`, `Use one of ${TOOL_CALL_PARSERS.join(', ')}.`);
}

function toolDialectOf(template: string): ToolDialect | undefined {
  if (template.includes('<function=')) return qwen3Xml;
  if (template.includes('<TOOLCALL>')) return nemotronJson;
  if (template.includes('[TOOL_CALLS]')) return mistral;
  if (!template.includes('<tool_call>')) return undefined;
  if (template.includes('<|start_of_role|>')) return granite4;
  return /'arguments'\s*:\s*<args-dict>/.test(template.replaceAll("\\'", "'")) ? falconH1 : hermes;
}

/**
 * How a model writes its thoughts; undefined: it has none.
 * @param template Jinja source of the chat template
 * @throws ArgumentError about an unknown name
 */
export function chooseReasoningDialect(template: string, name = 'auto'): ReasoningDialect | undefined {
  if (name === 'none') return undefined;
  const detected = template.includes('[THINK]') ? 'mistral' : template.includes('</think>') ? 'think' : undefined;
  const asked = name === 'auto' ? detected : Object.hasOwn(REASONING_ALIASES, name) ? REASONING_ALIASES[name] : name;
  if (asked === undefined) return undefined;
  const dialect = REASONING_DIALECTS.find((each) => each.name === asked);
  if (dialect) return dialect;
  throw new ArgumentError(`There is no reasoningParser '${name}'.`, `Use one of ${REASONING_PARSERS.join(', ')}.`);
}
