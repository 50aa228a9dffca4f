"""Sources in languages without a grammar, full of quotes and brackets that are no code."""

LEXED = {
    "haskell": r"""module Main where

import qualified Data.Map as M

-- | It's a fold.
total :: [Int] -> Int
total xs = foldl' (+) 0 (map (\x -> x * 2) xs)

data Shape = Circle { radius :: Double } | Square Double
  deriving (Show, Eq)

{- it isn't "over" -}
main :: IO ()
main = do
  let a' = M.fromList [(1, 'x'), (2, '"')]
  putStrLn $ "it's " ++ show (M.size a')
  case M.lookup 1 a' of
    Just c -> print [c]
    Nothing -> return ()
""",
    "elixir": r'''defmodule Shop.Cart do
  @moduledoc """
  It's a "cart" (of items.
  """
  alias Shop.Item

  def total(%{items: items} = cart, opts \\ []) do
    items
    |> Enum.map(fn %Item{price: p} -> p * 2 end)
    |> Enum.sum()
  end

  # it's private
  defp name(a) when is_atom(a), do: "#{inspect(a)} it's #{a[:b]}"
  defp words, do: ~w(a b' c)
  defp re, do: ~r/["']/
end
''',
    "zig": r"""const std = @import("std");

/// It's a list.
pub fn add(a: i32, b: i32) !i32 {
    const c = 'x';
    const text = "it's";
    for (items) |item, i| {
        std.debug.print("{s} {d}\n", .{ item, i });
    }
    if (a > b) return error.Bad else return a + b;
}
const multi =
    \\it's "raw (
    \\text
;
""",
    "nix": r"""{ pkgs ? import <nixpkgs> {} }:

# it's a shell
pkgs.mkShell rec {
  name = "it's-${pkgs.system}";
  buildInputs = with pkgs; [ git (python3.withPackages (p: [ p.numpy ])) ];
  shellHook = ''
    echo "don't (
    export A=${name}
  '';
}
""",
    "terraform": r"""resource "aws_instance" "web" {
  ami           = data.aws_ami.ubuntu.id
  instance_type = var.kind == "big" ? "t3.large" : "t3.micro"
  # it's tagged
  tags = {
    Name = "it's ${var.name}-${join("-", [for a in var.b : upper(a)])}"
  }
  user_data = <<-EOF
    echo "it's (
  EOF
}
""",
    "julia": r"""module Shop
# it's a sum
function total(xs::Vector{T}, f=x -> x^2) where {T<:Real}
    y = xs'
    c = 'a'
    s = "it's $(length(xs)) of $c"
    return sum(f.(xs)) + y[end]
end
#= it isn't
 "over" ( =#
const A = [1 2; 3 4]'
end
""",
    "r": r"""# it's a mean
avg <- function(x, na.rm = TRUE) {
  y <- x[!is.na(x)]
  if (length(y) == 0) return(NA)
  cat('it"s', "it's", sprintf("%d", 3L), "\n")
  sum(y) / length(y)
}
df$`odd name`[[1]] <- c("a", 'b')
x %>% filter(a == "b") %in% c(1, 2)
""",
    "perl": r"""#!/usr/bin/perl
use strict;
# it's a hash
my %h = (a => 1, 'b' => "it's $x");
my @list = qw(a b' c);
if ($text =~ /["'(]/ && $text !~ m{^it's}) {
    $text =~ s/'/"/g;
    print "size: $#{list} @{[ scalar @list ]}\n";
}
sub total { my ($self, @rest) = @_; return $#rest; }
print <<"EOT";
it's (here
EOT
""",
    "powershell": r"""# it's a function
function Get-Total {
    param([string[]]$Names, [int]$Limit = 10)
    $a = @{ Name = "it's $($Names[0])"; 'Key' = 1 }
    foreach ($n in $Names) { Write-Host "n: `"$n`"" }
    if ($a.Name -match '["(]') { return $a }
    $text = @"
it's "here" (
"@
    <# it isn't
    over #>
    $a | Where-Object { $_.Value -gt 1 } | ForEach-Object { $_.Key }
}
""",
    "clojure": r"""(ns shop.core
  (:require [clojure.string :as str]))

;; it's a sum
(defn total [xs & {:keys [a]}]
  (let [c \" d #"it's"]
    (reduce + (map #(* 2 %) xs))))
""",
    "erlang": r"""-module(shop).
-export([total/1]).
%% it's a sum
total([H | T]) -> H + total(T);
total([]) -> 0.
name('it s') -> "it's";
name($") -> <<"bin">>.
""",
    "ocaml": r"""(* it's a sum *)
let rec total (xs : 'a list) = match xs with
  | [] -> 0
  | x :: rest -> x + total rest
let c = 'x' and s = "it's" ^ {|raw "text (|}
""",
    "groovy": r'''pipeline {
  agent any
  stages {
    stage('build') {
      steps {
        sh """
          echo "it's ${env.A}"
        """
        script { def a = [1, 2].collect { it * 2 } }
      }
    }
  }
}
''',
    "proto3": r"""syntax = "proto3";
// it's a message
message Item { string name = 1; repeated int32 ids = 2 [packed = true]; }
service Shop { rpc Get(Item) returns (stream Item) {} }
""",
    "graphql": r"""# it's a query
query Q($id: ID!, $n: [Int!] = [1]) { item(id: $id) { name ...F @include(if: $b) } }
type A implements B { f(a: Int = 1): [String!]! }
""",
    "latex": r"""\documentclass{article}
% it's a remark (
\begin{document}
It's \textbf{bold} and $a_{i} \in [0, 1)$.
\end{document}
""",
    "ini": r"""[a]
; it's a remark (
b = it's
c = "d"
""",
    "vb": r'''' it's a remark (
Sub Main()
    Dim a As String = "it's ""here"""
    If a = "b" Then Console.WriteLine(a & "c")
End Sub
''',
    "fsharp": r'''// it's
let total (xs: 'a list) = xs |> List.sumBy (fun x -> x * 2)
let c = 'x'
let s = $"it's {c}" + """raw "x" ("""
(* it isn't over *)
''',
    "cmake": r"""# it's
set(A "it's ${B}" CACHE STRING "c")
if(NOT A STREQUAL "b")
  message(STATUS "x: ${A}")
endif()
""",
}
