/** How the events of a stream are written. */
export interface StreamForm {
  readonly contentType: string;
  write(event: object): string;
  /** What follows the last event. */
  readonly end: string;
}

const EVENT_STREAM = 'text/event-stream; charset=utf-8';

/** Server-sent events without names, then `[DONE]`: OpenAI's chats and completions. */
export const DATA_EVENTS: StreamForm = {
  contentType: EVENT_STREAM,
  write: (event) => `data: ${JSON.stringify(event)}\n\n`,
  end: 'data: [DONE]\n\n',
};

/** Server-sent events that have their `type` as the name: OpenAI's responses, and Anthropic's messages. */
export const NAMED_EVENTS: StreamForm = {
  contentType: EVENT_STREAM,
  write: (event) => `event: ${'type' in event ? event.type : 'message'}\ndata: ${JSON.stringify(event)}\n\n`,
  end: '',
};

/** One object a line: Ollama's. */
export const JSON_LINES: StreamForm = {
  contentType: 'application/x-ndjson',
  write: (event) => `${JSON.stringify(event)}\n`,
  end: '',
};
