package sqldb

// WithoutGuards is db as it is with a server that does not know the guard.
func WithoutGuards(db *DB) *DB {
	without := *db
	without.guards = false
	return &without
}
