/** What a server needs of a repository. */
import type { Image, Manifest, Survey } from '../../native/index.js';
import type { ImagePool } from '../image-pool.js';
import type { RevisionFacts } from '../inside.js';
import type { TreeRow } from '../listing.js';

export interface ServedRepository {
  /** Reads again what has changed; true when the listing is another one. */
  refresh(): Promise<boolean>;
  disks(): readonly string[];
  revisions(): readonly TreeRow[];
  manifest(disk: string, revision: string): Manifest;
  openImage(disk: string, revision: string): Promise<Image>;
}

/** Looks at a revision's image for the tree. */
export async function loadFacts(
  repository: ServedRepository,
  images: ImagePool,
  disk: string,
  revision: string,
): Promise<RevisionFacts> {
  const manifest = repository.manifest(disk, revision);
  const { image, release } = await images.acquire(disk, revision);
  try {
    const survey = await surveyOf(image, manifest);
    return { manifest, survey, sizeBytes: image.sizeBytes, allocatedBytes: image.allocatedBytes };
  } finally {
    release();
  }
}

/** Where the table itself is damaged in the store, what the backup saw when it was taken still tells. */
export async function surveyOf(image: Image, { layout }: Manifest): Promise<Survey> {
  try {
    return await image.survey();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const problem = `partitions are shown as they were seen when the revision was taken: ${reason}`;
    return { ...layout, problems: [...layout.problems, problem] };
  }
}
