/** What a broken promise is counted as. */
export type Breach = 'revisionsLost' | 'revisionsHalf' | 'removalsUndone' | 'other';

/** A promise of docs/semantics.md that was not kept. */
export class PromiseBroken extends Error {
  constructor(
    readonly breach: Breach,
    message: string,
  ) {
    super(message);
  }
}
