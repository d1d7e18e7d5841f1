import { Template } from '@huggingface/jinja';
import { describeJson, getOwn, isJsonObject, type JsonValue } from '../checkpoint/json.ts';
import { type ModelFiles, openModelFiles, readJsonFile } from '../checkpoint/model-files.ts';
import { ChatTemplateError } from '../errors.ts';

/** One turn of a conversation. Templates may read further fields. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly [field: string]: unknown;
}

/** What a template gets besides the messages. */
export interface ChatTemplateOptions {
  /** End with the header of an assistant turn, for the model to continue. True when absent. */
  readonly addGenerationPrompt?: boolean | undefined;
  readonly bosToken?: string | undefined;
  readonly eosToken?: string | undefined;
  /** Descriptions of tools, as OpenAI's API takes them. */
  readonly tools?: readonly unknown[] | undefined;
}

/**
 * What a model makes of messages. `completion`: it was not trained on conversations, and goes on with what the last
 * message begins. A template says so by the word `completion` at the beginning of a comment that comes first:
 * `{#- completion: … -#}`.
 */
export type TemplateKind = 'chat' | 'completion';

/**
 * The Jinja template that turns messages into the text that a chat model was trained on.
 * https://huggingface.co/docs/transformers/chat_templating
 */
export class ChatTemplate {
  readonly kind: TemplateKind;
  readonly #template: Template;

  /** Throws ChatTemplateError when the source is not valid Jinja. */
  constructor(source: string) {
    this.kind = /^\s*\{#-?\s*completion(?![\w-])/.test(source) ? 'completion' : 'chat';
    try {
      this.#template = new Template(source);
    } catch (cause) {
      throw new ChatTemplateError(`The chat template can't be parsed: ${messageOf(cause)}`, GET_AGAIN, { cause });
    }
  }

  /**
   * The template of a model, from chat_template.jinja, chat_template.json or tokenizer_config.json, whichever comes
   * first; undefined when the model has none. Rejects with JsonFileError or ChatTemplateError.
   */
  static async fromFiles(files: ModelFiles): Promise<ChatTemplate | undefined> {
    const jinja = await files.readText('chat_template.jinja');
    if (jinja !== undefined) return new ChatTemplate(jinja);
    for (const file of ['chat_template.json', 'tokenizer_config.json']) {
      const json = await readJsonFile(files, file);
      const value = json === undefined ? undefined : getOwn(json, 'chat_template');
      if (value !== undefined && value !== null) return new ChatTemplate(pickTemplate(value, files.nameOf(file)));
    }
    return undefined;
  }

  /** The same for a folder or a URL. */
  static async fromFolder(folder: string): Promise<ChatTemplate | undefined> {
    return ChatTemplate.fromFiles(await openModelFiles(folder));
  }

  /** The prompt. Throws ChatTemplateError with the template's own words when it rejects the messages. */
  render(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
    const variables: Record<string, unknown> = {
      messages,
      add_generation_prompt: options.addGenerationPrompt ?? true,
      // Templates ask `tools is not none`, which an undefined variable would pass.
      tools: options.tools ?? null,
    };
    if (options.bosToken !== undefined) variables.bos_token = options.bosToken;
    if (options.eosToken !== undefined) variables.eos_token = options.eosToken;
    try {
      return this.#template.render(variables);
    } catch (cause) {
      throw new ChatTemplateError(
        `The chat template fails on these messages: ${messageOf(cause)}`,
        'Check the roles and their order.',
        { cause },
      );
    }
  }
}

const GET_AGAIN = 'Get the file again, or pass a plain prompt.';

/** A model may have several templates, {name, template} each; the plain one is called 'default'. */
function pickTemplate(value: JsonValue, fileName: string): string {
  if (typeof value === 'string') return value;
  const named = new Map<JsonValue | undefined, JsonValue | undefined>();
  for (const entry of Array.isArray(value) ? value : []) {
    if (isJsonObject(entry)) named.set(getOwn(entry, 'name'), getOwn(entry, 'template'));
  }
  const template = named.get('default');
  if (typeof template === 'string') return template;
  throw new ChatTemplateError(
    `${fileName}: chat_template is ${describeJson(value)}, expected a string or a list with the template 'default'.`,
    GET_AGAIN,
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
