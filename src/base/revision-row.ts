/** One revision as every listing shows it: exactly the fields of `cairn list --json`. */
export interface RevisionRow {
  readonly disk: string;
  readonly revision: string;
  /** Given under the disk's lock; orders the revisions of a disk. */
  readonly sequence: number;
  /** RFC 3339: when reading the source began. */
  readonly createdAt: string;
  readonly sizeBytes: number;
  /** What this revision added to the repository, after compression. */
  readonly storedBytes: number;
  readonly tags: readonly string[];
  readonly trust: 'trusted' | 'distrusted' | 'verified';
  readonly protected: boolean;
  readonly consistency: 'frozen' | 'snapshot' | 'live';
}
