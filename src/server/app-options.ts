import { basename } from 'node:path';
import type { Logger } from 'pino';
import type { ChatParsers } from '../engine/chat/chat-options.ts';
import type { LLM } from '../engine/llm.ts';
import { ArgumentError } from '../errors.ts';
import { ServedModel } from './answer/served-model.ts';
import { DEFAULT_LIMITS, type RequestLimits, type SchedulingPolicy } from './request/limits.ts';

/** Options of an app: its model, its clients, its limits. */
export interface AppOptions {
  readonly llm: LLM;
  /** Names of the model for clients; answers carry the first. Default: the name of the model's folder. */
  readonly modelNames?: readonly string[] | undefined;
  /** API keys, one of which a request must send. Default: none is needed. */
  readonly apiKeys?: readonly string[] | undefined;
  /**
   * Lets requests with different keys use each other's states in the prefix cache. Then `cached_tokens` and the time to
   * the first token tell the owner of one key whether another key has sent a prompt. Default: false.
   */
  readonly sharePrefixCache?: boolean | undefined;
  /** Origins whose pages may use the server, or '*' for all. Default: the server's own. */
  readonly corsOrigins?: readonly string[] | undefined;
  /** Jinja source in place of the model's own chat template. */
  readonly chatTemplate?: string | undefined;
  /**
   * Lets a chat bring a chat template of its own (`chat_template`). Templates are programs: one may take all the time that a
   * text may take. Default: false.
   */
  readonly trustRequestChatTemplate?: boolean | undefined;
  /** How answers are read: names of the parsers of calls and thoughts. Default: by the chat template. */
  readonly parsers?: ChatParsers | undefined;
  readonly limits?: { readonly [K in keyof RequestLimits]?: RequestLimits[K] | undefined } | undefined;
  /**
   * Order of requests. `fcfs`: first come, first served; a `priority` other than 0 is refused. `priority`: by the
   * requests' own priorities, except that each request has its turn in the end. Default: fcfs.
   */
  readonly schedulingPolicy?: SchedulingPolicy | undefined;
  /** Whether `/` shows a chat page. Default: true. */
  readonly page?: boolean | undefined;
  /** What names of metrics begin with: routers that know only vLLM's names need 'vllm'. Default: 'mamba2'. */
  readonly metricsPrefix?: string | undefined;
  /** Logger, which gets a line for each request. Default: none. */
  readonly logger?: Logger | undefined;
}

/** Refuses options that no request could use, whatever the model. @throws ArgumentError */
export function checkAppOptions({ modelNames = [], corsOrigins = [], metricsPrefix }: Omit<AppOptions, 'llm'>): void {
  if (modelNames.some((name) => name.trim() === '')) {
    throw new ArgumentError('A name of the model is empty.', 'Leave it out, or give what clients call the model.');
  }
  for (const origin of corsOrigins) {
    if (origin === '*' || origin === 'null') continue;
    // Wildcards within a host are compared as they are.
    if (origin === originOf(origin) && !origin.includes('*')) continue;
    const problem = `The origin '${origin}' is none that a browser sends, so no page could use the server.`;
    throw new ArgumentError(problem, `Give ${originOf(origin) ?? "one such as 'https://example.org'"}, or '*'.`);
  }
  if (metricsPrefix === undefined || /^[a-z_][a-z0-9_]*$/i.test(metricsPrefix)) return;
  const hint = "Give letters, digits and underscores, such as 'mamba2' or 'vllm'.";
  throw new ArgumentError(`metricsPrefix is '${metricsPrefix}'.`, hint);
}

/** The origin of a URL as browsers send it: without a path, a default port or capital letters. */
function originOf(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const { protocol, host } = new URL(text);
  return host === '' ? undefined : `${protocol}//${host}`;
}

/** The model as the options describe it. @throws ChatTemplateError, ArgumentError */
export function servedModel(options: AppOptions): ServedModel {
  checkAppOptions(options);
  const { llm, modelNames = [], chatTemplate, parsers, schedulingPolicy, limits = {} } = options;
  const [name = basename(llm.folder), ...others] = modelNames;
  const given = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
  for (const [name, value] of Object.entries(given)) {
    // No number is above NaN, so NaN would be no limit at all.
    if (!(Number(value) > 0)) throw new ArgumentError(`limits.${name} is ${value}.`, 'Give a number above 0.');
  }
  const names = [name, ...others] as const;
  return new ServedModel({
    llm,
    names,
    chatTemplate,
    trustRequestChatTemplate: options.trustRequestChatTemplate,
    parsers,
    schedulingPolicy,
    limits: { ...DEFAULT_LIMITS, ...given },
  });
}
