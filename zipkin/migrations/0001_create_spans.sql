-- +goose Up
-- The rows of one trace lie together. The hash is of the whole span: the same
-- id comes twice from the two sides of a call, and in pieces from one side.
CREATE TABLE spans (
	trace_low      CHAR(16)     NOT NULL,
	hash           CHAR(32)     NOT NULL,
	trace_id       VARCHAR(32)  NOT NULL,
	service        VARCHAR(255) NOT NULL,
	remote_service VARCHAR(255) NOT NULL,
	name           VARCHAR(255) NOT NULL,
	duration       BIGINT       NOT NULL,
	body           MEDIUMTEXT   NOT NULL,
	PRIMARY KEY (trace_low, hash)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- +goose Down
DROP TABLE spans;
