import { type ModelFiles, readJsonFile } from '../../checkpoint/files/model-files.ts';
import { describeJson, getOwn, isJsonObject, type JsonValue } from '../../checkpoint/json/json.ts';
import { openModelFiles } from '../../checkpoint/open-model-files.ts';
import { ChatTemplateError, JsonFileError } from '../../errors.ts';
import { Template, TemplateError } from '../jinja/template.ts';
import { type ChatMessage, jsonSize, messageSize, textOf } from './chat-message.ts';
import { continued } from './continued-message.ts';
import { prepareMessages } from './prepare-messages.ts';
import { TemplateTraits } from './template-traits.ts';

export type { ChatMessage, TextPart } from './chat-message.ts';

/** Variables that a template receives besides the messages. */
export interface ChatTemplateOptions {
  /** End with the header of an assistant turn, for the model to continue. True when absent. */
  readonly addGenerationPrompt?: boolean | undefined;
  readonly bosToken?: string | undefined;
  readonly eosToken?: string | undefined;
  /** Further tokens by the names of their variables, such as `pad_token`: see `TextTokenizer.namedTokens`. */
  readonly namedTokens?: ReadonlyMap<string, string> | undefined;
  /** Descriptions of tools, as OpenAI's API takes them. */
  readonly tools?: readonly unknown[] | undefined;
  /** Texts that templates for retrieval write. */
  readonly documents?: readonly unknown[] | undefined;
  /** Further variables, such as `enable_thinking`. */
  readonly kwargs?: Readonly<Record<string, unknown>> | undefined;
  /** End inside the last message, for the model to continue it. Needs `addGenerationPrompt: false`. */
  readonly continueFinalMessage?: boolean | undefined;
}

/** Variables that have options of their own. */
const RESERVED = ['messages', 'tools', 'documents', 'add_generation_prompt'];

/**
 * Kind of a template, by how its model treats messages. `completion`: it was not trained on conversations, and
 * continues what the last message begins. A template declares that by the word `completion` at the beginning of a
 * comment that comes first: `{#- completion: … -#}`.
 */
export type TemplateKind = 'chat' | 'completion';

/** The sources of a model's templates. A worker can make the same template from them. */
export interface TemplateSources {
  readonly default: string;
  /** The template for requests with tools, if it is a different one. */
  readonly toolUse?: string | undefined;
}

/**
 * The Jinja template that turns messages into the text that a chat model was trained on, as transformers renders it.
 * https://huggingface.co/docs/transformers/chat_templating
 *
 * @example
 * ```ts
 * if (llm.chatTemplate) console.log(llm.chatTemplate.render([{ role: 'user', content: 'Hi' }]));
 * ```
 */
export class ChatTemplate {
  readonly kind: TemplateKind;
  readonly sources: TemplateSources;
  readonly #default: UsableTemplate | undefined;
  /** Made at its first use, so that a template that can't be parsed affects only requests with tools. */
  #toolUse: UsableTemplate | undefined;
  #problem: ChatTemplateError | undefined;

  /** @throws ChatTemplateError when the default source is not valid Jinja. */
  constructor(source: string | TemplateSources) {
    this.sources = typeof source === 'string' ? { default: source } : source;
    this.kind = /^\s*\{#-?\s*completion(?![\w-])/.test(this.sources.default) ? 'completion' : 'chat';
    this.#default = new UsableTemplate(this.sources.default);
  }

  /** The template of a model without a usable one: all that it can do is say why. */
  static unusable(problem: ChatTemplateError): ChatTemplate {
    const template = new ChatTemplate('');
    template.#problem = problem;
    return template;
  }

  /**
   * The templates of a model, from chat_template.jinja (and additional_chat_templates/tool_use.jinja),
   * chat_template.json or tokenizer_config.json, whichever comes first; undefined if the model has none, or only empty
   * ones. An unusable template does not prevent a model from loading: see {@link problem}.
   */
  static async fromFiles(files: ModelFiles): Promise<ChatTemplate | undefined> {
    try {
      const sources = await readSources(files);
      return sources === undefined ? undefined : new ChatTemplate(sources);
    } catch (error) {
      if (error instanceof ChatTemplateError) return ChatTemplate.unusable(error);
      throw error;
    }
  }

  /** The template of the model in a folder or at a URL. */
  static async fromFolder(folder: string): Promise<ChatTemplate | undefined> {
    return ChatTemplate.fromFiles(await openModelFiles(folder));
  }

  /** Why the template can't be used; undefined if it can. */
  get problem(): ChatTemplateError | undefined {
    return this.#problem;
  }

  /**
   * The prompt. @throws ChatTemplateError with the template's own words when it rejects the messages, about a role that
   * it does not know, and about a message that it would leave out.
   */
  render(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
    if (this.#problem !== undefined) throw this.#problem;
    return this.#templateFor(options)?.render(messages, options) ?? '';
  }

  #templateFor({ tools }: ChatTemplateOptions): UsableTemplate | undefined {
    const { toolUse } = this.sources;
    if (tools === undefined || toolUse === undefined) return this.#default;
    this.#toolUse ??= new UsableTemplate(toolUse);
    return this.#toolUse;
  }
}

/** Whether a file or a field holds no template, for example because it was emptied. */
function isBlank(source: JsonValue | undefined): boolean {
  return source === undefined || source === null || (typeof source === 'string' && source.trim() === '');
}

/** One of a model's templates, with its traits. */
class UsableTemplate {
  readonly #template: Template;
  readonly #traits: TemplateTraits;

  /** @throws ChatTemplateError */
  constructor(source: string) {
    try {
      // Editors on Windows begin files with a byte order mark.
      this.#template = new Template(source.replace(/^\uFEFF/, ''));
    } catch (cause) {
      throw new ChatTemplateError(`The chat template can't be parsed: ${describe(cause)}.`, GET_AGAIN, { cause });
    }
    this.#traits = new TemplateTraits(this.#template);
  }

  /** @throws ChatTemplateError */
  render(messages: readonly ChatMessage[], options: ChatTemplateOptions): string {
    const { messages: prepared, uncertain } = prepareMessages(messages, this.#traits);
    const text = options.continueFinalMessage
      ? continued(prepared, (marked) => this.#run(marked, options))
      : this.#run(prepared, options);
    const lost = uncertain.find((i) => !this.#arrives(text, prepared, i, options));
    if (lost === undefined) return text;
    throw new ChatTemplateError(
      `The chat template leaves out message ${lost + 1}, whose role is '${messages[lost].role}'.`,
      "Give what it says in the first message, as 'system', or in a message of the user.",
    );
  }

  /** Whether the content of a message makes a difference to the text. */
  #arrives(text: string, messages: readonly ChatMessage[], index: number, options: ChatTemplateOptions): boolean {
    const content = textOf(messages[index].content)?.trim() ?? '';
    if (content === '' || text.includes(content)) return true;
    const changed = messages.map((message, i) =>
      i === index ? { ...message, content: `${content} ${content}` } : message,
    );
    return this.#run(changed, options) !== text;
  }

  #run(messages: readonly ChatMessage[], options: ChatTemplateOptions): string {
    const { kwargs = {} } = options;
    const reserved = RESERVED.find((name) => Object.hasOwn(kwargs, name));
    if (reserved !== undefined) {
      throw new ChatTemplateError(`'${reserved}' has an option of its own.`, 'Leave it out of the further variables.');
    }
    const variables: Record<string, unknown> = {
      ...Object.fromEntries(options.namedTokens ?? []),
      ...kwargs,
      messages,
      add_generation_prompt: options.addGenerationPrompt ?? true,
      // Templates ask `tools is not none`, which an undefined variable would pass.
      tools: options.tools ?? null,
      documents: options.documents ?? null,
    };
    if (options.bosToken !== undefined) variables.bos_token = options.bosToken;
    if (options.eosToken !== undefined) variables.eos_token = options.eosToken;
    try {
      return this.#template.render(variables, stepsFor(messages, options));
    } catch (cause) {
      throw new ChatTemplateError(
        `The chat template fails on these messages: ${describe(cause)}.`,
        'Check the roles and their order.',
        { cause },
      );
    }
  }
}

/**
 * Several times as many steps as the longest templates in use take: about a quarter of a second, and more for long
 * conversations.
 */
function stepsFor(messages: readonly ChatMessage[], { tools = [], documents = [] }: ChatTemplateOptions): number {
  const characters = messages.reduce((sum, message) => sum + messageSize(message), 0);
  return 500_000 + messages.length * 1000 + characters + jsonSize(tools) + jsonSize(documents);
}

const GET_AGAIN = 'Get the file again, give another template, or pass a plain prompt.';

/** @throws ChatTemplateError */
async function readSources(files: ModelFiles): Promise<TemplateSources | undefined> {
  const jinja = await files.readText('chat_template.jinja');
  if (jinja !== undefined && !isBlank(jinja)) {
    const toolUse = await files.readText('additional_chat_templates/tool_use.jinja');
    return { default: jinja, toolUse: isBlank(toolUse) ? undefined : toolUse };
  }
  for (const file of ['chat_template.json', 'tokenizer_config.json']) {
    const value = await readTemplateField(files, file);
    if (value !== undefined && !isBlank(value)) return pickTemplates(value, file);
  }
  return undefined;
}

async function readTemplateField(files: ModelFiles, file: string): Promise<JsonValue | undefined> {
  try {
    const json = await readJsonFile(files, file);
    return json === undefined ? undefined : getOwn(json, 'chat_template');
  } catch (cause) {
    // Without the folder, which clients of a server should not see.
    const message = cause instanceof JsonFileError ? cause.message.replaceAll(files.nameOf(file), file) : undefined;
    if (message !== undefined) throw new ChatTemplateError(message, '', { cause });
    throw cause;
  }
}

/** A model may have several templates, {name, template} each; the plain one is called 'default'. */
function pickTemplates(value: JsonValue, fileName: string): TemplateSources {
  if (typeof value === 'string') return { default: value };
  const named = new Map<JsonValue | undefined, JsonValue | undefined>();
  for (const entry of Array.isArray(value) ? value : []) {
    if (isJsonObject(entry)) named.set(getOwn(entry, 'name'), getOwn(entry, 'template'));
  }
  const [plain, toolUse] = [named.get('default'), named.get('tool_use')];
  if (typeof plain === 'string') return { default: plain, toolUse: typeof toolUse === 'string' ? toolUse : undefined };
  throw new ChatTemplateError(
    `${fileName}: chat_template is ${describeJson(value)}, expected a string or a list with the template 'default'.`,
    GET_AGAIN,
  );
}

/** The template's own message, with the line. */
function describe(error: unknown): string {
  const message = (error instanceof Error ? error.message : String(error)).replace(/\.$/, '');
  const line = error instanceof TemplateError ? error.line : undefined;
  return line === undefined ? message : `${message} (line ${line} of the template)`;
}
