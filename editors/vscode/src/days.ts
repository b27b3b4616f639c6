// Names the days and months in which conversations were last active, in the local time of this machine.

/**
 * The group of an ISO 8601 time in a list that is sorted by time: `Today`, `Yesterday`, `Previous 7 days`, else its month,
 * with the year unless that is the present one. A time in the future is of today.
 */
export function nameDay(iso: string, now = new Date()): string {
  const time = new Date(iso);
  const startOfDay = (daysAgo: number) => new Date(now.getFullYear(), now.getMonth(), now.getDate() - daysAgo);
  if (time >= startOfDay(0)) {
    return "Today";
  }
  if (time >= startOfDay(1)) {
    return "Yesterday";
  }
  if (time >= startOfDay(7)) {
    return "Previous 7 days";
  }
  const isThisYear = time.getFullYear() === now.getFullYear();
  return time.toLocaleDateString("en", { month: "long", ...(isThisYear ? {} : { year: "numeric" }) });
}

/** A day of a list by day in few characters: `Sep 26`. */
export function formatShortDay(iso: string): string {
  return new Date(iso).toLocaleDateString("en", { day: "numeric", month: "short" });
}
