/// <reference path="../../types/globals.d.ts" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * mamba2/server: an OpenAI-compatible server over a loaded model, as a Hono app and as a server on Node.
 *
 * @module mamba2/server
 */
export { createApp } from './app.ts';
export type { AppOptions } from './app-options.ts';
export { type RunningServer, type ServeOptions, serve } from './node-server.ts';
export type { ServerEnv } from './request/env.ts';
export type { SchedulingPolicy } from './request/limits.ts';
export { DEFAULT_LIMITS, type RequestLimits } from './request/limits.ts';
export type { RequestFacts, RequestRecord } from './request/request-record.ts';
export type { ErrorForm } from './wire/error-form.ts';
export type { ErrorBody, ErrorStatus, HttpError } from './wire/http-error.ts';
export type { CompletionTokensDetails, Usage } from './wire/usage.ts';
