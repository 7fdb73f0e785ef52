/** What a repository must hold by what was asked of it and what it has reported. */
import type { ChangingImage } from './changing-image.js';

export interface Labels {
  readonly tags: readonly string[];
  readonly protected: boolean;
}

export interface ExpectedRevision extends Labels {
  /** Of the content of its source when it was taken. */
  readonly digest: string;
}

/** A disk and its revisions, oldest first. */
export class ExpectedDisk {
  readonly revisions = new Map<string, ExpectedRevision>();
  /** Revisions that were there once. */
  readonly gone = new Set<string>();

  constructor(
    public name: string,
    readonly source: ChangingImage,
  ) {}

  /** As it is now. */
  copy(): ExpectedDisk {
    const copy = new ExpectedDisk(this.name, this.source);
    for (const [id, revision] of this.revisions) copy.revisions.set(id, revision);
    for (const id of this.gone) copy.gone.add(id);
    return copy;
  }

  get newest(): string | undefined {
    return [...this.revisions.keys()].at(-1);
  }

  get isProtected(): boolean {
    return [...this.revisions.values()].some((revision) => revision.protected);
  }

  relabel(id: string, labels: Labels): void {
    const known = this.revisions.get(id);
    if (known !== undefined) this.revisions.set(id, { ...known, ...labels });
  }

  remove(id: string): void {
    this.revisions.delete(id);
    this.gone.add(id);
  }

  removeAll(): void {
    for (const id of [...this.revisions.keys()]) this.remove(id);
  }
}
