import type { JsonObject } from '../../checkpoint/json/json-parser.ts';

/** A function that a model may call. */
export interface ToolFunction {
  readonly name: string;
  readonly description?: string | undefined;
  /** JSON Schema of the arguments, an object. Default: none. */
  readonly parameters?: JsonObject | undefined;
  /** Whether arguments must fit the schema: then a grammar enforces it. Default: false. */
  readonly strict?: boolean | undefined;
}

/** A tool in OpenAI's form. */
export interface Tool {
  readonly type: 'function';
  readonly function: ToolFunction;
}

/** Which tools an answer calls: as the model likes, none, at least one, or this one. */
export type ToolChoice =
  | 'auto'
  | 'none'
  | 'required'
  | { readonly type: 'function'; readonly function: { readonly name: string } };
