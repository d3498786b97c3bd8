// The user's own graph, from a file: a line "a b" is an edge between ranks a and b and gets its
// Metropolis weight; a line "a b w" says that rank a gives rank b's value the weight w. A file has
// lines of one kind. Blank lines and what follows a # are ignored.
//   Checks    ranks, sums, connectivity: before any rank uses it. The sums of rows and columns are
//             to be 1; sums=row or sums=column asks for less, for methods that need less.

#include <fmt/format.h>

#include <fstream>
#include <sstream>

#include "gossip/graphs/list.h"
#include "src/env.h"

namespace gossamer {
namespace {

struct Line {
  Edge edge;
  double weight = 0;
  bool weighted = false;
};

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

Result<Line> read_line(const std::string& text, Rank size, const std::string& where) {
  std::istringstream words(text);
  std::string a;
  std::string b;
  std::string extra;
  Line line;
  if (!(words >> a >> b)) return invalid(where + ": an edge is two ranks, \"0 1\"");
  for (const auto& [word, rank] : {std::pair(&a, &line.edge.a), std::pair(&b, &line.edge.b)}) {
    const Result<int64_t> number = parse_int(*word, 0, size - 1, where + ": a rank");
    if (!number) return number.status();
    *rank = static_cast<Rank>(*number);
  }
  line.weighted = static_cast<bool>(words >> line.weight);
  words.clear();
  if (words >> extra) return invalid(fmt::format("{}: '{}' is no weight", where, extra));
  if (line.weighted) return line;
  if (Status sound = check_edge(line.edge, size); !sound) {
    return invalid(where + ": " + sound.message());
  }
  return line;
}

Result<std::vector<Line>> read_file(const std::string& path, Rank size) {
  std::ifstream file(path);
  if (!file) return invalid("cannot read the graph's edges from '" + path + "'");
  std::vector<Line> lines;
  std::string text;
  for (int number = 1; std::getline(file, text); ++number) {
    text.resize(std::min(text.find('#'), text.size()));
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    const Result<Line> line = read_line(text, size, where);
    if (!line) return line.status();
    if (!lines.empty() && lines.front().weighted != line->weighted) {
      return invalid(where + ": give every edge a weight, or none");
    }
    lines.push_back(*line);
  }
  if (lines.empty()) return invalid("'" + path + "' has no edge");
  return lines;
}

Result<Stochastic> read_sums(const GraphOptions& options) {
  const auto found = options.parameters.find("sums");
  if (found == options.parameters.end() || found->second == "double") return Stochastic::kDouble;
  if (found->second == "row") return Stochastic::kRow;
  if (found->second == "column") return Stochastic::kColumn;
  return invalid("sums=" + found->second + " is none of double, row and column");
}

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  const Result<Stochastic> sums = read_sums(options);
  if (!sums) return sums.status();
  const auto path = options.parameters.find("file");
  if (path == options.parameters.end()) {
    return invalid("edges needs a file: edges:file=PATH, one \"a b\" or \"a b weight\" per line");
  }
  const Result<std::vector<Line>> lines = read_file(path->second, options.size);
  if (!lines) return lines.status();
  Mixing mixing(options.size);
  if (lines->front().weighted) {
    for (const Line& line : *lines) mixing.add(line.edge.a, line.edge.b, line.weight);
    const Status sound = check_sums(mixing, *sums);
    if (!sound) return invalid(path->second + ": " + sound.message());
  } else {
    std::vector<Edge> edges;
    for (const Line& line : *lines) edges.push_back(line.edge);
    mixing = metropolis(options.size, edges);
  }
  const Status connected = check_connected(std::span(&mixing, 1));
  if (!connected) return invalid(path->second + ": " + connected.message());
  return repeat_rounds({std::move(mixing)});
}

}  // namespace

const GraphFactory edges_graph = {"edges", "your own, from a file of edges",
                                  "file=PATH: lines of \"a b\" or \"a b weight\"; "
                                  "sums=double: or row, column",
                                  create};

}  // namespace gossamer
