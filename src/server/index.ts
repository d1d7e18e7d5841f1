/**
 * mamba2/server: an OpenAI-compatible server over a loaded model, as a Hono app and as a server on Node.
 */
export { createApp } from './app.ts';
export type { AppOptions } from './app-options.ts';
export { DEFAULT_LIMITS, type RequestLimits } from './limits.ts';
export { type RunningServer, type ServeOptions, serve } from './node-server.ts';
