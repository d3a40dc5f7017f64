type Limits = { requests: number; seconds: number };

const counts = new Map<string, { count: number; until: number }>();

/**
 * Cloudflare's rate limiter for a benchmark: it counts requests in fixed windows, from memory. Without a limit it counts
 * and refuses nobody.
 */
const limiter = ({ LIMIT }: { LIMIT?: Limits }) => ({
  async limit({ key }: { key: string }): Promise<{ success: boolean }> {
    const now = Date.now();
    let mine = counts.get(key);
    if (!mine || mine.until <= now) {
      mine = { count: 0, until: now + (LIMIT?.seconds ?? 10) * 1000 };
      counts.set(key, mine);
    }
    mine.count++;
    return { success: LIMIT === undefined || mine.count <= LIMIT.requests };
  },
});

export { limiter as default };
