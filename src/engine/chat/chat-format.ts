import type { JsonObject } from '../../checkpoint/json/json-parser.ts';
import type { ChatTemplate, ChatTemplateOptions } from '../../text/chat/chat-template.ts';
import type { AnswerForm } from '../../text/parsers/answer-parser.ts';
import { chooseReasoningDialect, chooseToolDialect } from '../../text/parsers/choose-parsers.ts';
import type { ReasoningDialect } from '../../text/parsers/reasoning.ts';
import type { ToolDialect } from '../../text/parsers/tool-dialect.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import { checkedBudget, type GenerateOptions, type Thoughts } from '../sample/sampling-params.ts';
import type { ChatParsers, ChatTemplateInputs } from './chat-options.ts';
import { checkedTools, refusal } from './checked-tools.ts';
import { toolGrammar } from './tool-grammar.ts';

/** Options of a chat template that a request decides. */
export type RequestTemplateOptions = Pick<
  ChatTemplateOptions,
  'addGenerationPrompt' | 'tools' | 'documents' | 'kwargs' | 'continueFinalMessage'
>;

/** How one answer is asked for and read. */
export interface ChatPlan {
  readonly template: RequestTemplateOptions;
  /** How the answer to a prompt is read. */
  form(prompt: readonly number[]): AnswerForm;
  /** Options of the generation, changed so that the answer can be read. */
  generate<T extends GenerateOptions>(options: T, prompt: readonly number[]): T;
}

/** How a model writes calls and thoughts, by its chat template. */
export class ChatFormat {
  readonly toolDialect: ToolDialect | undefined;
  readonly reasoningDialect: ReasoningDialect | undefined;
  readonly #writesTools: boolean;
  readonly #tokenizer: TextTokenizer | undefined;

  /** @throws ArgumentError about an unknown parser */
  constructor(template: ChatTemplate | undefined, tokenizer: TextTokenizer | undefined, parsers: ChatParsers = {}) {
    const { default: source, toolUse } = template?.sources ?? { default: '' };
    this.toolDialect = chooseToolDialect(toolUse ?? source, parsers.toolCallParser);
    this.reasoningDialect = chooseReasoningDialect(source, parsers.reasoningParser);
    this.#writesTools = toolUse !== undefined || /\btools\b/.test(source);
    this.#tokenizer = tokenizer;
  }

  /** Whether requests may have tools. */
  get takesTools(): boolean {
    return this.#writesTools && this.toolDialect !== undefined;
  }

  /** @throws SamplingParamsError about tools that can't be used */
  plan(inputs: ChatTemplateInputs): ChatPlan {
    const { toolChoice: choice = 'auto', parallelToolCalls: isParallel = true } = inputs;
    const given = checkedTools(inputs.tools, choice);
    const budget = inputs.thinkingTokenBudget === undefined ? undefined : checkedBudget(inputs.thinkingTokenBudget);
    const tools = choice === 'none' ? [] : given;
    const dialect = tools.length > 0 ? this.#requireDialect() : undefined;
    const functions = tools.map((tool) => tool.function);
    const toolCalls = dialect && { dialect, tools: functions, maxCalls: isParallel ? undefined : 1 };
    const reasoning = (prompt: readonly number[]) => this.#reasoning(prompt);
    return {
      template: templateOptions(inputs),
      form: (prompt) => ({ reasoning: reasoning(prompt), toolCalls }),
      generate: (options, prompt) => {
        const form = options.structuredOutputs;
        const grammar = dialect && toolGrammar({ dialect, tools: functions, choice, isParallel, form });
        if (dialect && choice !== 'auto' && form !== undefined) {
          throw refusal('toolChoice', 'asks for calls, and structuredOutputs for another form.', 'Give one of them.');
        }
        return {
          ...options,
          thoughts: this.#thoughts(prompt, budget),
          structuredOutputs: grammar ?? form,
          skipSpecialTokens: this.#mustShowSpecial(dialect) ? false : options.skipSpecialTokens,
        };
      },
    };
  }

  #requireDialect(): ToolDialect {
    if (!this.#writesTools) {
      throw refusal(
        'tools',
        'can not be given: the chat template of this model does not write them.',
        'Take a model trained on tools, or give a template that does: chatTemplate, or --chat-template of a server.',
      );
    }
    if (this.toolDialect) return this.toolDialect;
    throw refusal(
      'tools',
      'can not be given: the chat template does not say how the model writes calls.',
      'Name a parser: toolCallParser, or --tool-call-parser of a server.',
    );
  }

  /** The thoughts of an answer to a prompt, which may have opened or closed them. */
  #reasoning(prompt: readonly number[]): AnswerForm['reasoning'] {
    const dialect = this.reasoningDialect;
    if (!dialect) return undefined;
    const { begin, end } = dialect;
    const tail = this.#tokenizer?.decode(prompt.slice(-TAIL_TOKENS), { skipSpecialTokens: false }).trimEnd() ?? '';
    const isOpen = tail.endsWith(begin) || (tail.endsWith(end) ? false : dialect.isOpen);
    return { begin, end, isOpen };
  }

  /** The thoughts for the engine. */
  #thoughts(prompt: readonly number[], tokens: number | undefined): Thoughts | undefined {
    const markers = this.#reasoning(prompt);
    if (!markers) return undefined;
    const endTokenIds = this.#tokenizer?.encode(markers.end, { addSpecialTokens: false }) ?? [];
    return { ...markers, budget: tokens === undefined ? undefined : { tokens, endTokenIds } };
  }

  /** Whether a marker that is looked for is a special token, which texts leave out. */
  #mustShowSpecial(dialect: ToolDialect | undefined): boolean {
    const tokenizer = this.#tokenizer;
    if (!tokenizer || tokenizer.specialTokenIds.size === 0) return false;
    const { reasoningDialect: thoughts } = this;
    const markers = [
      ...(dialect ? [...dialect.markers, dialect.endMarker ?? ''] : []),
      ...(thoughts ? [thoughts.begin, thoughts.end] : []),
    ];
    return markers.some((marker) =>
      tokenizer.encode(marker, { addSpecialTokens: false }).some((id) => tokenizer.specialTokenIds.has(id)),
    );
  }
}

/** What a template gets. A model that does not see tools calls none. */
export function templateOptions(inputs: ChatTemplateInputs): RequestTemplateOptions {
  const { tools = [], toolChoice } = inputs;
  return {
    addGenerationPrompt: inputs.addGenerationPrompt ?? inputs.continueFinalMessage !== true,
    continueFinalMessage: inputs.continueFinalMessage,
    tools: toolChoice === 'none' || tools.length === 0 ? undefined : tools.map(withoutStrict),
    documents: inputs.documents,
    kwargs: inputs.chatTemplateKwargs,
  };
}

/** Tokens at the end of a prompt that may hold a marker and space after it. */
const TAIL_TOKENS = 16;

/** A tool as models know it: whether a grammar enforces its arguments is not their concern. */
function withoutStrict(tool: { readonly function: object }): JsonObject {
  const { strict: _, ...rest } = tool.function as JsonObject;
  return { ...tool, function: rest };
}
