/// <reference path="../../types/globals.d.ts" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * mamba2/server: an OpenAI-compatible server over a loaded model, as a Hono app and as a server on Node.
 */
export { createApp } from './app.ts';
export type { AppOptions } from './app-options.ts';
export type { ServerEnv } from './env.ts';
export type { ErrorBody, ErrorStatus, HttpError } from './http-error.ts';
export type { SchedulingPolicy } from './limits.ts';
export { DEFAULT_LIMITS, type RequestLimits } from './limits.ts';
export { type RunningServer, type ServeOptions, serve } from './node-server.ts';
export type { RequestFacts, RequestRecord } from './request-record.ts';
export type { Usage } from './wire/usage.ts';
