-- +goose Up
-- The calls between services that one trace shows.
CREATE TABLE links (
	trace_low CHAR(16)     NOT NULL,
	parent    VARCHAR(255) NOT NULL,
	child     VARCHAR(255) NOT NULL,
	calls     BIGINT       NOT NULL,
	errors    BIGINT       NOT NULL,
	ts        BIGINT       NOT NULL,
	PRIMARY KEY (trace_low, parent, child)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE INDEX links_ts ON links (ts);

-- +goose Down
DROP TABLE links;
