-- +goose Up
-- ts is the time of a span without parent (rooted = 1), else the earliest time.
-- linked = 1 says that the links of the trace were counted into the table links.
-- `stored` is a word of MySQL's own, hence the quotes.
CREATE TABLE traces (
	trace_id   VARCHAR(32) NOT NULL,
	trace_low  CHAR(16)    NOT NULL,
	ts         BIGINT      NOT NULL,
	rooted     INT         NOT NULL,
	span_count BIGINT      NOT NULL,
	`stored`   BIGINT      NOT NULL,
	linked     INT         NOT NULL,
	PRIMARY KEY (trace_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE INDEX traces_ts ON traces (ts, trace_id);
CREATE INDEX traces_low ON traces (trace_low, ts);
CREATE INDEX traces_stored ON traces (`stored`);
CREATE INDEX traces_linked ON traces (linked, `stored`);

-- +goose Down
DROP TABLE traces;
