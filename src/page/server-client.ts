import { eventData } from './event-stream.ts';
import type { Tool } from './json-forms.ts';
import type { ToolCall, ToolCallDelta } from './turns/tool-calls.ts';

/** A model as `/v1/models` lists it. */
export interface ModelCard {
  readonly id: string;
  readonly max_model_len: number;
  readonly has_chat_template: boolean;
  /** 'completion': the model was not trained on conversations, and continues what they begin. */
  readonly chat_template_kind: 'chat' | 'completion' | null;
}

/** A message of a conversation, as the server takes it. */
export interface Message {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
  /** Thoughts before an answer. */
  readonly reasoning_content?: string;
  readonly tool_calls?: readonly ToolCall[];
  /** The call whose result this is. */
  readonly tool_call_id?: string;
}

/** The input: a conversation, or a text to continue. */
export type Question =
  | { readonly messages: readonly Message[]; readonly tools?: readonly Tool[] }
  | { readonly prompt: string };

/** Options of the answer, under the names of the server's fields. */
export interface AnswerFields {
  readonly temperature: number;
  readonly top_p: number;
  readonly max_tokens: number;
  readonly seed?: number;
  readonly half_life_interval?: number;
  /** JSON Schema of the answer. */
  readonly response_format?: object;
}

/** Half-lives per layer and head, in tokens; null for heads that lose nothing. */
export type HalfLives = readonly (readonly (number | null)[])[];

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

/** The new part of an answer. */
export interface AnswerPiece {
  readonly text: string;
  /** Thoughts, which come before the text. */
  readonly reasoning?: string | undefined;
  readonly calls?: readonly ToolCallDelta[] | undefined;
  readonly halfLives?: HalfLives | undefined;
  readonly finishReason?: string | undefined;
  readonly usage?: Usage | undefined;
}

interface StreamEvent {
  readonly error?: { readonly message: string };
  readonly choices?: readonly {
    readonly text?: string;
    readonly delta?: {
      readonly content?: string | null;
      readonly reasoning_content?: string;
      readonly tool_calls?: readonly {
        readonly index: number;
        readonly id?: string;
        readonly function?: { readonly name?: string; readonly arguments?: string };
      }[];
    };
    readonly half_lives?: HalfLives;
    readonly finish_reason: string | null;
  }[];
  readonly usage?: Usage | null;
}

/** The server refused, or did not answer. The message is for the reader. */
export class ServerError extends Error {
  /** Whether a key would help. */
  readonly needsKey: boolean;

  constructor(message: string, needsKey = false) {
    super(message);
    this.name = 'ServerError';
    this.needsKey = needsKey;
  }
}

/** The server that the page came from. */
export class ServerClient {
  readonly #base: URL;
  readonly #apiKey: () => string;

  /** @param base the page's own URL. */
  constructor(base: string, apiKey: () => string) {
    this.#base = new URL(base);
    this.#apiKey = apiKey;
  }

  /** @throws ServerError */
  async models(): Promise<readonly ModelCard[]> {
    const response = await this.#fetch('v1/models', {});
    const { data } = (await response.json()) as { data: readonly ModelCard[] };
    return data;
  }

  /** Leaving the loop, or aborting the signal, ends the generation. @throws ServerError, the signal's reason */
  async *answer(
    model: ModelCard,
    question: Question,
    fields: AnswerFields,
    signal: AbortSignal,
  ): AsyncGenerator<AnswerPiece, void> {
    const path = 'messages' in question ? 'v1/chat/completions' : 'v1/completions';
    const body = { model: model.id, ...question, ...fields, stream: true, stream_options: { include_usage: true } };
    const response = await this.#fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal,
    });
    if (!response.body) return;
    try {
      for await (const data of eventData(response.body)) {
        if (data === '[DONE]') return;
        yield piece(JSON.parse(data) as StreamEvent);
      }
    } catch (error) {
      if (signal.aborted || error instanceof ServerError) throw error;
      throw new ServerError('The connection to the server broke.');
    }
    throw new ServerError('The server stopped in the middle of the answer.');
  }

  async #fetch(path: string, init: RequestInit & { headers?: Record<string, string> }): Promise<Response> {
    const key = this.#apiKey();
    const headers = { ...init.headers, ...(key && { authorization: `Bearer ${key}` }) };
    let response: Response;
    try {
      response = await fetch(new URL(path, this.#base), { ...init, headers });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ServerError('The server cannot be reached. Is it still running?');
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

function piece({ error, choices = [], usage }: StreamEvent): AnswerPiece {
  if (error) throw new ServerError(error.message);
  const [choice] = choices;
  return {
    text: choice?.text ?? choice?.delta?.content ?? '',
    reasoning: choice?.delta?.reasoning_content,
    calls: choice?.delta?.tool_calls?.map(({ index, id, function: called }) => ({ index, id, ...called })),
    halfLives: choice?.half_lives,
    finishReason: choice?.finish_reason ?? undefined,
    usage: usage ?? undefined,
  };
}

async function refusal(response: Response): Promise<ServerError> {
  const said = await response
    .json()
    .then((body: StreamEvent) => body.error?.message)
    .catch(() => undefined);
  switch (response.status) {
    case 401:
      return new ServerError('This server requires an API key. Enter it in the settings.', true);
    case 429:
      return new ServerError('The server has as many requests as it can take. Try again in a moment.');
    case 503:
      return new ServerError('The server is shutting down and takes no more requests.');
    default:
      return new ServerError(said ?? `The server answered with status ${response.status} and no reason.`);
  }
}
