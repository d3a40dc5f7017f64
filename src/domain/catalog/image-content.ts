import { imageDimensionsFromData } from 'image-dimensions';
import { ApiError } from '../../base/errors.ts';

/** 10 MB, the limit of an image's file. */
export const maxImageBytes = 10_485_760;
export const imageTooLarge = 'An image may have at most 10 MB.';
const maxSide = 16_384;
const maxPixels = 50_000_000;
/** Where the width and height must be found. Longer metadata before them would cost too much to read. */
const headerBytes = 2_097_152;

/** The media type of each kind of image, by the extension of its file. */
export const mediaTypes = { png: 'image/png', jpg: 'image/jpeg', webp: 'image/webp', avif: 'image/avif' } as const;
export type Extension = keyof typeof mediaTypes;

/** The extension for each accepted type, by the name that `image-dimensions` gives it. */
const extensions: Record<string, Extension> = { png: 'png', jpeg: 'jpg', webp: 'webp', avif: 'avif' };

/** What a file is, by its first bytes. */
export type ImageContent = { extension: Extension; width: number; height: number };

/** The size that the header states. Undefined if the header is broken: the library may throw then. */
function readHeader(bytes: Uint8Array) {
  try {
    return imageDimensionsFromData(bytes.subarray(0, headerBytes));
  } catch {
    return undefined;
  }
}

/**
 * Reads the type, width and height in the header of an image. Nothing is decoded, so a small file of a huge image costs
 * nothing here, and it is refused so that it costs buyers' browsers nothing either.
 * @throws ApiError unsupported_media_type, validation_failed (too many pixels)
 */
export function readImageContent(bytes: Uint8Array): ImageContent {
  const header = readHeader(bytes);
  const extension = header && extensions[header.type];
  if (!header || !extension || header.width === 0 || header.height === 0) {
    throw new ApiError(
      'unsupported_media_type',
      'The file is not a PNG, JPEG, WebP or AVIF image. Its content decides, not its Content-Type. SVG is not accepted.',
    );
  }
  const { width, height } = header;
  if (width > maxSide || height > maxSide || width * height > maxPixels) {
    throw new ApiError(
      'validation_failed',
      `The image has ${width} × ${height} pixels. At most 50 megapixels are allowed, and ${maxSide} pixels a side.`,
    );
  }
  return { extension, width, height };
}
