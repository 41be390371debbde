"""The redis floor: every Redis command of Belfry stands here, and every Redis error is translated here."""
