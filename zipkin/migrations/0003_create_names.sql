-- +goose Up
-- What the search form offers: services, names of spans and remote services
-- by service, values of tags by key.
CREATE TABLE names (
	kind  VARCHAR(16)  NOT NULL,
	scope VARCHAR(255) NOT NULL,
	name  VARCHAR(255) NOT NULL,
	seen  BIGINT       NOT NULL,
	PRIMARY KEY (kind, scope, name)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE INDEX names_seen ON names (seen);

-- +goose Down
DROP TABLE names;
