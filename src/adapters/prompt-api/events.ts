/** Progress of a load: `loaded` goes from 0 to 1. The web's ProgressEvent, which Node lacks. */
export class DownloadProgressEvent extends Event {
  readonly lengthComputable = true;
  readonly loaded: number;
  readonly total = 1;

  constructor(loaded: number) {
    super('downloadprogress');
    this.loaded = loaded;
  }
}

/** Fires `downloadprogress` while a model is loaded. */
export class CreateMonitor extends EventTarget {
  ondownloadprogress: ((event: DownloadProgressEvent) => void) | null = null;
  #loaded = -1;

  constructor() {
    super();
    this.addEventListener('downloadprogress', (event) => this.ondownloadprogress?.(event as DownloadProgressEvent));
  }

  /** A part of the whole, from 0 to 1. What is no more than before is left out. */
  report(loaded: number): void {
    if (loaded <= this.#loaded) return;
    this.#loaded = loaded;
    this.dispatchEvent(new DownloadProgressEvent(loaded));
  }
}

/** The conversation has no room for a prompt. */
export class QuotaExceededError extends DOMException {
  /** Tokens that were needed. */
  readonly requested: number;
  /** Tokens that there are. */
  readonly quota: number;

  constructor(requested: number, quota: number) {
    super(`The conversation would have ${requested} tokens; expected at most ${quota}.`, 'QuotaExceededError');
    this.requested = requested;
    this.quota = quota;
  }
}
