/** SIGINT and SIGTERM. A command that takes the signal is told and ends when it has cleaned up; one that does not has
 *  nothing to clean up and ends at once. */

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;
type SignalName = keyof typeof EXIT_CODES;

export class Interruption {
  readonly #controller = new AbortController();
  readonly #onRepeated: () => void;
  #taken = false;
  #received: SignalName | null = null;

  /** `onRepeated` is called for every signal after the first: impatience must not leave a mess, so it only talks. */
  constructor(onRepeated: () => void) {
    this.#onRepeated = onRepeated;
    for (const name of Object.keys(EXIT_CODES) as SignalName[]) process.on(name, () => this.#receive(name));
  }

  /** Aborted by the first signal. Whoever reads it promises to end soon after and to clean up. */
  get signal(): AbortSignal {
    this.#taken = true;
    return this.#controller.signal;
  }

  /** The exit code of the signal that came, or null. */
  get exitCode(): number | null {
    return this.#received === null ? null : EXIT_CODES[this.#received];
  }

  #receive(name: SignalName): void {
    if (!this.#taken) process.exit(EXIT_CODES[name]);
    if (this.#received !== null) {
      this.#onRepeated();
      return;
    }
    this.#received = name;
    this.#controller.abort();
  }
}
