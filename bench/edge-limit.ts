/** Cloudflare's rate limiter for a benchmark: it counts, as the real one does within a machine, and refuses nobody. */
const limiter = () => {
  const counts = new Map<string, number>();
  return {
    async limit({ key }: { key: string }): Promise<{ success: boolean }> {
      counts.set(key, (counts.get(key) ?? 0) + 1);
      return { success: true };
    },
  };
};

export { limiter as default };
