/** What must be put back when the demo ends, however it ends: newest first, each thing by its own name. */

export class UndoStack {
  readonly #entries: { readonly what: string; readonly undo: () => Promise<unknown> }[] = [];

  /** @returns a function that does it now instead of at the end */
  push(what: string, undo: () => Promise<unknown>): () => Promise<void> {
    const entry = { what, undo };
    this.#entries.push(entry);
    return async () => {
      const index = this.#entries.indexOf(entry);
      if (index < 0) return;
      this.#entries.splice(index, 1);
      await undo();
    };
  }

  /** Does everything that is left, one failure not keeping the rest from being done.
   *  @returns what could not be undone, each a sentence */
  async unwind(): Promise<string[]> {
    const failures: string[] = [];
    for (let entry = this.#entries.pop(); entry !== undefined; entry = this.#entries.pop()) {
      try {
        await entry.undo();
      } catch (error) {
        failures.push(`${entry.what}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    return failures;
  }
}
