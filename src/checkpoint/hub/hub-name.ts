/** A model on the hub, as its user names it. */
export interface HubName {
  /** `org/name` */
  readonly repoId: string;
  readonly revision: string | undefined;
  /** Which of the repository's models in GGUF. */
  readonly quantization: string | undefined;
}

const NAME = /^(?:(?:hf\.co|huggingface\.co)\/)?([\w-][\w.-]*\/[\w-][\w.-]*)(?::([^:@]+))?(?:@([^:]+))?(?::([^:@]+))?$/;

/**
 * Reads `org/name`, `org/name@revision`, `org/name:Q4_K_M`, and both in either order. Ollama puts `hf.co/` first, and
 * `latest` names nothing. Undefined where the name has another form.
 */
export function parseHubName(source: string): HubName | undefined {
  const [, repoId, first, revision, last] = NAME.exec(source) ?? [];
  if (repoId === undefined || (first !== undefined && last !== undefined)) return undefined;
  const tag = first ?? last;
  return { repoId, revision, quantization: tag?.toLowerCase() === 'latest' ? undefined : tag };
}
